/** Files of the host that are stored by the addon. */
import type { ExpectedVersion } from './backend.js'
import { storageAddon, type StoredHostFile } from './native-addon.js'

/** What tells two files by one name apart: the inode number does where one was replaced within the clock's tick. */
export function hostVersionOf(mtimeNs: bigint, size: bigint, ino: bigint): string {
  return `${mtimeNs}/${size}/${ino}`
}

/**
 * Write a whole file to the absolute path `upload`, fsync it and rename it over `target`: in one hop to a thread, where
 * each step alone would be one. `data` must not change until the promise is settled. Rejects with an error of the host:
 * EEXIST where nothing was expected and something is there, ESTALE where another version is; the upload is gone then.
 */
export function storeHostFile(
  upload: string,
  target: string,
  data: Uint8Array,
  expected: ExpectedVersion,
): Promise<StoredHostFile> {
  return storageAddon().storeFile(upload, target, data, expected)
}
