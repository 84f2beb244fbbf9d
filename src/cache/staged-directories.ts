/** What lies in `cache_dir/staged`, and whose it was: a profile may be gone, read-only or spelt differently by now. */
import { mkdirSync, writeFileSync } from 'node:fs'
import { readFile, readdir, stat } from 'node:fs/promises'
import path from 'node:path'
import { BROKEN, CONFLICTS, recordsAmong } from './staging.js'

/** Who a store's staging directory is for. No secrets. */
export interface StoreOwner {
  readonly profile: string
  readonly type: string
  /** From the root of the mount, as text. */
  readonly mountPoint: string
}

/** One store's staging directory. */
export interface StagedDirectory {
  readonly directory: string
  /** null: an older daemon did not say. */
  readonly owner: StoreOwner | null
  /** A mount of this daemon has it, and stores what is in it. */
  readonly isClaimed: boolean
  /** Files that their store does not have yet, and the bytes of their records. */
  readonly files: number
  readonly bytes: number
  /** Versions that are kept since others have changed the files. */
  readonly conflicts: number
  /** Records that the disk does not give back as they were written. */
  readonly broken: number
}

/** Tell by a file of `storesPath` whose the directory by this name is. What can't be written is not told. */
export function noteOwner(storesPath: string, name: string, owner: StoreOwner): void {
  try {
    mkdirSync(storesPath, { recursive: true, mode: 0o700 })
    writeFileSync(path.join(storesPath, `${name}.json`), `${JSON.stringify(owner)}\n`, { mode: 0o600 })
  } catch {
    // The disk is full, or broken: whoever stages something there finds out.
  }
}

/** All directories below `stagedPath` with something in them. */
export async function describeStaged(
  stagedPath: string,
  storesPath: string,
  isClaimed: (name: string) => boolean,
): Promise<StagedDirectory[]> {
  const all = await Promise.all(
    (await namesIn(stagedPath)).map(async (name) => ({
      directory: path.join(stagedPath, name),
      owner: await readOwner(path.join(storesPath, `${name}.json`)),
      isClaimed: isClaimed(name),
      ...(await countStaged(path.join(stagedPath, name))),
    })),
  )
  return all.filter(({ files, conflicts, broken }) => files + conflicts + broken > 0)
}

type StagedCounts = Pick<StagedDirectory, 'files' | 'bytes' | 'conflicts' | 'broken'>

async function countStaged(directory: string): Promise<StagedCounts> {
  const records = recordsAmong(await namesIn(directory))
  const sizes = await Promise.all(records.map((name) => sizeOf(path.join(directory, name))))
  return {
    files: records.length,
    bytes: sizes.reduce((total, bytes) => total + bytes, 0),
    conflicts: await countKept(path.join(directory, CONFLICTS)),
    broken: await countKept(path.join(directory, BROKEN)),
  }
}

/** What describes a conflict lies beside it. */
async function countKept(directory: string): Promise<number> {
  return recordsAmong(await namesIn(directory)).filter((name) => !name.endsWith('.json')).length
}

async function namesIn(directory: string): Promise<string[]> {
  try {
    return await readdir(directory)
  } catch {
    return []
  }
}

/** A record may be gone by now. */
async function sizeOf(filePath: string): Promise<number> {
  try {
    return (await stat(filePath)).size
  } catch {
    return 0
  }
}

async function readOwner(filePath: string): Promise<StoreOwner | null> {
  try {
    const { profile, type, mountPoint } = JSON.parse(await readFile(filePath, 'utf8')) as Partial<StoreOwner>
    return profile === undefined || type === undefined || mountPoint === undefined
      ? null
      : { profile, type, mountPoint }
  } catch {
    return null
  }
}
