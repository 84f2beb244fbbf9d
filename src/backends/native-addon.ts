/**
 * The addon, and what stores use of it: `native/src/addon.cc`. The device's part is `src/virtio/native.ts`, that of pass-through
 * mounts `src/passthrough/host-calls.ts`.
 */
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

let loaded: unknown = null

/** What `npm run build` (or npm's install script) compiled from `native/`, loaded at the first use. Each user knows its part. */
export function loadAddon(): unknown {
  // dist/src/backends/ -> the package's root -> native/
  const root = fileURLToPath(new URL('../../../native', import.meta.url))
  loaded ??= bindings({ bindings: 'ovfsd_native', module_root: root })
  return loaded
}

export function storageAddon(): StorageAddon {
  return loadAddon() as StorageAddon
}
