/** The addon's part for files of the host: `native/src/host_file.h`. */
import bindings from 'bindings'
import { fileURLToPath } from 'node:url'
import type { ExpectedVersion } from './backend.js'

export interface StoredHostFile {
  readonly seconds: number
  readonly nanoseconds: number
  readonly sizeBytes: number
  /** As `hostVersionOf` has it. */
  readonly version: string
}

interface HostFiles {
  storeFile(
    upload: string,
    target: string,
    data: Uint8Array,
    expected: ExpectedVersion,
  ): Promise<StoredHostFile>
}

/** What tells two files by one name apart: the inode number does where one was replaced within the clock's tick. */
export function hostVersionOf(mtimeNs: bigint, size: bigint, ino: bigint): string {
  return `${mtimeNs}/${size}/${ino}`
}

let loaded: HostFiles | null = null

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
  // dist/src/backends/ -> the package's root -> native/
  const root = fileURLToPath(new URL('../../../native', import.meta.url))
  loaded ??= bindings({ bindings: 'ovfsd_native', module_root: root }) as HostFiles
  return loaded.storeFile(upload, target, data, expected)
}
