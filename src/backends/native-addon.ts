/**
 * The addon, and what stores use of it: `native/src/addon.cc`. The device's part is `src/virtio/native.ts`, that of pass-through
 * mounts `src/passthrough/host-calls.ts`.
 */
import bindings from 'bindings'
import { fileURLToPath } from 'node:url'
import type { ExpectedVersion, StorageUsage, Timestamp } from './backend.js'

/** `HostStat` of `native/src/host_directory.h`. */
export interface HostStat {
  readonly kind: number
  readonly seconds: number
  readonly nanoseconds: number
  readonly sizeBytes: number
  /** Of files: what tells two by one name apart. */
  readonly version: string
}

export interface HostListing {
  /** Of each entry its name and its version, each with a NUL behind it. */
  readonly text: string
  /** Of each entry kind, size in bytes, and seconds and nanoseconds of its time. */
  readonly numbers: Float64Array
}

export interface HostPage extends HostListing {
  /** The host's offset at which the next page begins; null: this is the last one. */
  readonly next: string | null
  /** The directory's descriptor, which is the caller's to close; -1: none was opened, or the end was reached. */
  readonly opened: number
}

/**
 * `native/src/host_directory.h`: `path` is below `root`, `beneath` has the kernel see to it. Errors have a `code`, and are marked
 * by `leadsOut` for links that it does not follow and by `cannotConfine` where it does not know how.
 */
export interface HostDirectoryCalls {
  stat(root: string, path: string, beneath: boolean): Promise<HostStat>
  removeFile(root: string, path: string, beneath: boolean): Promise<void>
  removeDirectory(root: string, path: string, beneath: boolean): Promise<void>
  makeDirectory(root: string, path: string, beneath: boolean): Promise<void>
  rename(root: string, from: string, to: string, beneath: boolean): Promise<void>
  /** fsync: what was made, moved and removed in the directory outlives a crash of the host. */
  sync(root: string, path: string, beneath: boolean): Promise<void>
  usage(root: string, path: string, beneath: boolean): Promise<StorageUsage>
  link(root: string, from: string, to: string, beneath: boolean): Promise<void>
  /** `limit` + 1 entries at most, without a look at each: kinds alone; 0: all entries, with what a look would tell. */
  list(root: string, path: string, limit: number, beneath: boolean): Promise<HostListing>
  /** `fd`: -1, or one that is read by nobody else meanwhile. `from`: "0", or `next` of a page of the same directory. */
  listPage(
    root: string,
    path: string,
    fd: number,
    from: string,
    limit: number,
    beneath: boolean,
  ): Promise<HostPage>
}

/** `PublishRequest` of `native/src/host_file.h`. */
export interface HostPublish {
  readonly root: string
  readonly beneath: boolean
  /** Where the file is while it is being written; the directory, one below the root, is made if need be. */
  readonly upload: string
  readonly path: string
  readonly expected: ExpectedVersion
  /** undefined: the time of its last write. */
  readonly mtime: Timestamp | undefined
  /** fsync the directory of `path`, too. */
  readonly syncsDirectory: boolean
}

export interface HostPublished extends HostStat {
  /** The file is in its place, and it is not known whether it stays there if the host crashes. */
  readonly syncError: Error | null
}

/**
 * `native/src/host_data.h` and `native/src/host_file.h`; errors as of `HostDirectoryCalls`, and marked by `isTorn` where the file was
 * changed and it is not known what it is now. Bytes must not change until the promise is settled.
 */
export interface HostFileCalls {
  /** Fills `data`. */
  read(
    root: string,
    path: string,
    beneath: boolean,
    version: string,
    offset: number,
    data: Uint8Array,
  ): Promise<void>
  append(
    root: string,
    path: string,
    beneath: boolean,
    version: string,
    sizeBytes: number,
    data: Uint8Array,
  ): Promise<HostStat>
  setTime(root: string, path: string, beneath: boolean, mtime: Timestamp): Promise<HostTimeChange>
  store(request: HostPublish, data: Uint8Array): Promise<HostPublished>
  /** `version`: "" for whichever it is. */
  copy(request: HostPublish, from: string, version: string): Promise<HostPublished>
  /** The upload's descriptor, which is the caller's to close. */
  openUpload(request: HostPublish): Promise<number>
  publish(request: HostPublish, fd: number): Promise<HostPublished>
}

export interface HostTimeChange {
  readonly previousVersion: string
  readonly stat: HostStat
}

export interface StorageAddon {
  readonly hostDirectory: HostDirectoryCalls
  readonly hostFile: HostFileCalls
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
