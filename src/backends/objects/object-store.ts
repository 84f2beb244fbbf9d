/** What all object stores have in common, whichever way they are reached. */
import type { ObjectStat, StorageUsage } from '../backend.js'
import { StorageError } from '../storage-error.js'

/** A directory is no object: all that there is to tell of one. */
export const DIRECTORY: ObjectStat = { kind: 'directory', sizeBytes: 0, mtime: null, version: '' }

/** A directory of fewer entries is small: a page of most servers. */
export const SMALL_LISTING_ENTRIES = 1000

/** Parts of an upload: large enough that a request's latency is small beside its transfer, small enough that several uploads fit in memory. S3 asks for at least 5 MiB. */
export const PART_SIZE_BYTES = 8 << 20

/** A store without a limit of its own is shown as this large: 1 PiB in 1 MiB blocks, so that df and free-space checks work. */
export const UNLIMITED_USAGE: StorageUsage = {
  blockSizeBytes: 1 << 20,
  totalBlocks: 1 << 30,
  freeBlocks: 1 << 30,
  availableBlocks: 1 << 30,
  totalFiles: 2 ** 32,
  freeFiles: 2 ** 32,
}

/** Something else is at `path` than the version `expected`; null: than nothing. */
export function conflict(path: string, expected: string | null): StorageError {
  const message = `${path}: somebody else ${expected === null ? 'made' : 'changed or removed'} it meanwhile`
  return new StorageError(expected === null ? 'EEXIST' : 'ESTALE', message)
}

/** Something else is stored than what was expected. */
export function isConflict(error: unknown): boolean {
  return error instanceof StorageError && (error.errno === 'ESTALE' || error.errno === 'EEXIST')
}
