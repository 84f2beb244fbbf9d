import { mkdirSync, readdirSync } from 'node:fs'
import { open, readFile, rename, unlink, writeFile } from 'node:fs/promises'
import path from 'node:path'
import {
  readRecord,
  writeRecord,
  type StagedDescription,
  type StagedPlace,
  type StagedRecord,
} from './staged-record.js'

/** What is amended of a record lies beside it. */
const PLACE_SUFFIX = '.place'
const TEMPORARY_SUFFIX = '.new'
/** Where records go that their store can't take any more: see `setAside`. */
export const CONFLICTS = 'conflicts'
/** Records written by this process. */
let recordCount = 0

/** A record that an earlier process has left. */
export interface Found extends StagedRecord {
  readonly id: string
}

/**
 * A directory of the host with what one store was not told yet although its writers were told that it is safe: a record
 * for each file, from a close with write-back to the commit that stores it. It is complete for the death of this process at
 * any moment; for one of the host only as far as that has written back its own cache.
 */
export class Staging {
  private readonly prefix = `${Date.now().toString(36)}-${process.pid.toString(36)}-`

  constructor(readonly directory: string) {
    mkdirSync(directory, { recursive: true, mode: 0o700 })
  }

  /** Resolves with the new record's id when it would survive this process. */
  async write(description: StagedDescription, pieces: Iterable<Uint8Array>): Promise<string> {
    const id = `${this.prefix}${++recordCount}`
    try {
      await writeRecord(this.pathOf(id), description, pieces)
    } catch (error) {
      await this.forget(id)
      throw error
    }
    return id
  }

  /** The file is somewhere else now, or has another time or other attributes. */
  async amend(id: string, place: StagedPlace): Promise<void> {
    const target = this.pathOf(id) + PLACE_SUFFIX
    await writeFile(target + TEMPORARY_SUFFIX, JSON.stringify(place), { mode: 0o600 })
    await rename(target + TEMPORARY_SUFFIX, target)
  }

  /** The store has it, or nobody wants it any more. Never rejects. */
  async forget(id: string): Promise<void> {
    for (const suffix of ['', PLACE_SUFFIX]) {
      await unlink(this.pathOf(id) + suffix).catch(() => undefined)
    }
  }

  /** Whether an earlier process has left anything. */
  get isEmpty(): boolean {
    return this.ids().length === 0
  }

  private ids(): string[] {
    return readdirSync(this.directory).filter(
      (name) => name !== CONFLICTS && !name.endsWith(PLACE_SUFFIX) && !name.endsWith(TEMPORARY_SUFFIX),
    )
  }

  /** What an earlier process has left. Records that are not whole or were replaced are removed. */
  async found(): Promise<Found[]> {
    const records: Found[] = []
    for (const id of this.ids()) {
      const record = await this.read(id)
      if (record === null) await this.forget(id)
      else records.push({ ...record, ...(await this.readPlace(id)), id })
    }
    const replaced = new Set(records.map(({ replaces }) => replaces))
    for (const { id } of records) if (replaced.has(id)) await this.forget(id)
    return records.filter(({ id }) => !replaced.has(id))
  }

  private async read(id: string): Promise<StagedRecord | null> {
    const handle = await open(this.pathOf(id))
    try {
      return await readRecord(handle)
    } finally {
      await handle.close()
    }
  }

  private async readPlace(id: string): Promise<Partial<StagedPlace>> {
    try {
      return JSON.parse(await readFile(this.pathOf(id) + PLACE_SUFFIX, 'utf8')) as StagedPlace
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code === 'ENOENT') return {}
      throw error
    }
  }

  /** Somebody else has changed the file meanwhile: keep the record for a person to look at. Returns where it is. */
  async setAside(id: string): Promise<string> {
    const folder = path.join(this.directory, CONFLICTS)
    mkdirSync(folder, { recursive: true, mode: 0o700 })
    for (const suffix of [PLACE_SUFFIX, '']) {
      await rename(this.pathOf(id) + suffix, path.join(folder, id + suffix)).catch((error: unknown) => {
        if (suffix === '') throw error
      })
    }
    return path.join(folder, id)
  }

  pathOf(id: string): string {
    return path.join(this.directory, id)
  }
}
