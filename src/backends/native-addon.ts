/** What the addon offers beside the device: `native/src/addon.cc`. The device's part is `src/virtio/native.ts`. */
import bindings from 'bindings'
import { fileURLToPath } from 'node:url'
import type { ExpectedVersion } from './backend.js'

/** A file of the host as it was stored. */
export interface StoredHostFile {
  readonly seconds: number
  readonly nanoseconds: number
  readonly sizeBytes: number
  /** As `hostVersionOf` has it. */
  readonly version: string
}

export interface StorageAddon {
  /** `native/src/host_file.h`. */
  storeFile(
    upload: string,
    target: string,
    data: Uint8Array,
    expected: ExpectedVersion,
  ): Promise<StoredHostFile>
  /** Detach the buffer, which gives its memory back at once. Nobody may be reading or writing it. */
  discard(buffer: ArrayBuffer): void
}

let loaded: StorageAddon | null = null

export function storageAddon(): StorageAddon {
  // dist/src/backends/ -> the package's root -> native/
  const root = fileURLToPath(new URL('../../../native', import.meta.url))
  loaded ??= bindings({ bindings: 'ovfsd_native', module_root: root }) as StorageAddon
  return loaded
}
