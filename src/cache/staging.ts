import { readdirSync } from 'node:fs'
import { readFile, readdir } from 'node:fs/promises'
import path from 'node:path'
import {
  DurableDirectory,
  hostFiles,
  makeDirectory,
  UNFINISHED_SUFFIX,
  type Durability,
  type HostFiles,
} from './durable-directory.js'
import { asBroken, BrokenRecordError, RecordReader } from './record-reader.js'
import { writeRecord, type StagedDescription, type StagedPlace } from './staged-record.js'
import { parsePlace, placeText } from './staged-place.js'

/** What is amended of a record lies beside it. */
const PLACE_SUFFIX = '.place'
/** Where records go that their store can't take any more: see `setAside`. */
export const CONFLICTS = 'conflicts'
/** Where records go that are not what was written, or not where: see `found`. */
export const BROKEN = 'broken'
const FOLDERS: readonly string[] = [CONFLICTS, BROKEN]
/** Digits and letters: see `compareAges`. */
const BASE_OF_TIME = 36
/** Records that this process has written and amended. */
let recordCount = 0

/** A record that an earlier process has left. */
export interface Found extends StagedDescription {
  readonly id: string
}

interface WrittenPlace {
  /** '': nobody knows. */
  text: string
  readonly written: Promise<void>
}

/** A record that can't be read as it was written. */
export interface BrokenRecord {
  readonly keptAs: string
  readonly error: Error
}

/**
 * A directory of the host with what one store was not told yet although its writers were told that it is safe: a record
 * for each file, from a close with write-back to the commit that stores it.
 *
 *     ID           a record: see staged-record.ts
 *     ID.place     where the file is now, if that has changed since
 *     conflicts/   what the store can't take, for others have changed the file: see conflicts.ts
 *     broken/      records that the disk does not give back as they were written
 *
 * Names that end in ".new" are being written; nobody was told yet that they are safe.
 */
export class Staging {
  private readonly prefix = `${Date.now().toString(BASE_OF_TIME)}-${process.pid.toString(BASE_OF_TIME)}-`
  private readonly records: DurableDirectory
  /** Records of this process, which are not to be recovered, and the last place that was written of each, or is being written. */
  private readonly own = new Map<string, WrittenPlace>()
  /** Records with a place beside them. */
  private readonly placed = new Set<string>()

  constructor(
    readonly directory: string,
    private readonly durability: Durability = 'host',
    private readonly files: HostFiles = hostFiles,
  ) {
    this.records = this.inside('.')
  }

  private inside(folder: string): DurableDirectory {
    const directory = path.join(this.directory, folder)
    makeDirectory(directory, this.durability)
    return new DurableDirectory(directory, this.durability, this.files)
  }

  /** Where conflicts are kept. */
  get conflicts(): DurableDirectory {
    return this.inside(CONFLICTS)
  }

  private nextId(): string {
    return `${this.prefix}${++recordCount}`
  }

  /** Resolves with the new record's id when it would survive what `Durability` says. */
  async write(description: StagedDescription, pieces: Iterable<Uint8Array>): Promise<string> {
    const id = this.nextId()
    this.own.set(id, { text: placeText(description), written: Promise.resolve() })
    try {
      await this.records.put(id, (file) => writeRecord(file, description, pieces))
    } catch (error) {
      await this.forget(id)
      throw error
    }
    return id
  }

  /** The file is somewhere else now, has another time or other attributes, or lies over another version. */
  amend(id: string, place: StagedPlace): Promise<void> {
    const text = placeText(place)
    const last = this.own.get(id)
    if (last?.text === text) return last.written
    const amended = placeText({ ...place, amended: this.nextId() })
    const before = last?.written.catch(() => undefined) ?? Promise.resolve()
    const written = before.then(() =>
      this.records.put(id + PLACE_SUFFIX, (file) => file.write(Buffer.from(amended))),
    )
    this.placed.add(id)
    const latest: WrittenPlace = { text, written }
    this.own.set(id, latest)
    return written.catch((error: unknown) => {
      // The disk may have either.
      latest.text = ''
      throw error
    })
  }

  /** The store has it, or nobody wants it any more. Never rejects. */
  async forget(id: string): Promise<void> {
    await this.own.get(id)?.written.catch(() => undefined)
    await this.records.remove(id).catch(() => undefined)
    if (this.placed.delete(id)) {
      // If a crash brought back the record, it must not be without its place.
      await this.records.flushRemoved().catch(() => undefined)
      await this.records.remove(id + PLACE_SUFFIX).catch(() => undefined)
    }
    this.own.delete(id)
  }

  /**
   * No record that was forgotten comes back when the power of the host ends. To be awaited before a stored file gets another name or
   * goes: at the old one, its record would be taken for a new file.
   */
  flushForgotten(): Promise<void> {
    return this.records.flushRemoved()
  }

  /** Nobody here has the file any more: whoever recovers what is in the directory stores it. */
  leave(id: string): void {
    this.own.delete(id)
  }

  /** Whether an earlier process has left anything. */
  get isEmpty(): boolean {
    return namesIn(this.directory).every((name) => FOLDERS.includes(name) || this.isOwn(name))
  }

  /**
   * What an earlier process has left and is whole: of one that was replaced, only the newer. What is broken is set aside, and
   * told to `told`.
   */
  async found(told: (broken: BrokenRecord) => void = () => undefined): Promise<Found[]> {
    const names = (await readdir(this.directory)).filter((name) => !this.isOwn(name))
    const records: Found[] = []
    for (const id of recordsAmong(names)) {
      try {
        records.push({ ...(await this.read(id)), ...(await this.readPlace(id)), id })
      } catch (error) {
        if (!(error instanceof BrokenRecordError)) throw error
        told({ keptAs: await this.setBroken(id), error })
      }
    }
    const replaced = new Set(records.map(({ replaces }) => replaces))
    for (const { id } of records) if (replaced.has(id)) await this.forget(id)
    await this.removeRemnants(names)
    const { youngest, outdated } = youngestOf(records.filter(({ id }) => !replaced.has(id)))
    for (const { id, paths } of outdated) {
      const error = new BrokenRecordError(`another record of ${paths.at(-1) ?? ''} is younger`)
      told({ keptAs: await this.setBroken(id), error })
    }
    return youngest
  }

  /** Of a record that this process has written or is writing. */
  private isOwn(name: string): boolean {
    const end = name.indexOf('.')
    return this.own.has(end < 0 ? name : name.slice(0, end))
  }

  private async read(id: string): Promise<StagedDescription> {
    const reader = await RecordReader.open(this.pathOf(id))
    try {
      await reader.verify()
      return reader.description
    } finally {
      await reader.close()
    }
  }

  private async readPlace(id: string): Promise<Partial<StagedPlace>> {
    try {
      const bytes = await readFile(this.pathOf(id) + PLACE_SUFFIX)
      this.placed.add(id)
      return parsePlace(bytes)
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code === 'ENOENT') return {}
      throw asBroken(error)
    }
  }

  /** What a killed process had not finished writing, or had forgotten by half. */
  private async removeRemnants(names: readonly string[]): Promise<void> {
    const present = new Set(names)
    for (const name of names) {
      const isOrphan = name.endsWith(PLACE_SUFFIX) && !present.has(name.slice(0, -PLACE_SUFFIX.length))
      if (isOrphan || name.endsWith(UNFINISHED_SUFFIX)) await this.records.remove(name).catch(() => undefined)
    }
  }

  /** Somebody else has changed the file meanwhile: keep the record for a person to look at. Returns where it is. */
  setAside(id: string): Promise<string> {
    return this.move(id, CONFLICTS)
  }

  /** The record is not what was written: keep it out of the way, or where it is, if the disk can't move it. Returns where it is. */
  setBroken(id: string): Promise<string> {
    return this.move(id, BROKEN).catch(() => this.pathOf(id))
  }

  private async move(id: string, folder: string): Promise<string> {
    const target = this.inside(folder)
    // The record last: until then it is found again, as it was.
    for (const suffix of [PLACE_SUFFIX, '']) {
      await this.records.moveTo(target, id + suffix).catch((error: unknown) => {
        if (suffix === '') throw error
      })
    }
    return target.pathOf(id)
  }

  pathOf(id: string): string {
    return this.records.pathOf(id)
  }
}

/** Of a directory that need not be there. */
export function namesIn(directory: string): string[] {
  try {
    return readdirSync(directory)
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return []
    throw error
  }
}

export function recordsAmong(names: readonly string[]): string[] {
  return names.filter(
    (name) => !FOLDERS.includes(name) && !name.endsWith(PLACE_SUFFIX) && !name.endsWith(UNFINISHED_SUFFIX),
  )
}

/**
 * Of each file the record that is the last to say so. Only one is of a file; there are two where the disk has lost what said that
 * one's had been renamed, or brought one back that was forgotten. A rename that was under way is none of these.
 */
function youngestOf(records: readonly Found[]): { youngest: Found[]; outdated: Found[] } {
  const youngest = new Map<string, Found>()
  const outdated = new Set<Found>()
  for (const record of records.toSorted((one, other) => compareAges(toldAt(one), toldAt(other)))) {
    const [path = '', ...others] = record.paths
    if (others.length > 0) continue
    const older = youngest.get(path)
    if (older !== undefined) outdated.add(older)
    youngest.set(path, record)
  }
  return { youngest: records.filter((record) => !outdated.has(record)), outdated: [...outdated] }
}

function toldAt({ id, amended }: Found): string {
  return amended ?? id
}

/** Ids begin with the time at which their daemon began, and end with a number of that daemon's. Others are older. */
function compareAges(one: string, other: string): number {
  const [begunOne, countOne] = ageOf(one)
  const [begunOther, countOther] = ageOf(other)
  return begunOne - begunOther || countOne - countOther
}

function ageOf(id: string): readonly [beganMs: number, count: number] {
  const parts = id.split('-')
  const [beganMs, count] = [Number.parseInt(parts[0] ?? '', BASE_OF_TIME), Number(parts.at(-1))]
  return [Number.isNaN(beganMs) ? 0 : beganMs, Number.isNaN(count) ? 0 : count]
}
