/**
 * The storage interface: what the cache and the file system ask of a store, in the terms of paths, whole objects
 * and byte ranges. Every method rejects with a `StorageError`; every call has a deadline.
 *
 * Paths are relative to the mount's root, their names joined by "/", without a leading or trailing "/"; the root is
 * "". Names have been validated by the layer above: none is empty, ".", ".." or holds "/" or NUL.
 */

/** Hidden below each mount's root: uploads that are not yet visible, and unlinked files that are still open. */
export const RESERVED_DIRECTORY = '.ovfsd'

export type EntryKind = 'file' | 'directory'

/** A point in time as FUSE wants it: whole seconds since the epoch and nanoseconds 0..999999999. */
export interface Timestamp {
  readonly seconds: number
  readonly nanoseconds: number
}

export interface ObjectStat {
  readonly kind: EntryKind
  /** 0 for directories. */
  readonly sizeBytes: number
  /** null where the store keeps none. */
  readonly mtime: Timestamp | null
  /** Changes when the contents change: an etag, or mtime and size. '' where the store has nothing to tell versions apart. */
  readonly version: string
}

export interface DirectoryEntry {
  readonly name: string
  readonly kind: EntryKind
  /** Present where the listing itself carried the attributes. */
  readonly stat: ObjectStat | null
}

export interface StorageUsage {
  readonly blockSizeBytes: number
  readonly totalBlocks: number
  readonly freeBlocks: number
  readonly availableBlocks: number
  readonly totalFiles: number
  readonly freeFiles: number
}

/**
 * What a write expects to replace: a version, null for nothing, undefined for whatever is there. A store that finds
 * something else refuses with ESTALE (EEXIST where nothing was expected), as far as it can tell.
 */
export type ExpectedVersion = string | null | undefined

/** One upload: bytes in order, visible as a whole when `close` resolves and not before. */
export interface BackendWriter {
  /** `data` must not change until the promise resolves; calls must not overlap. */
  write(data: Uint8Array): Promise<void>
  /** Make the object visible. Returns its new stat. */
  close(): Promise<ObjectStat>
  /** Give up; what was stored before at the path stays. Never rejects. */
  abort(): Promise<void>
}

export interface BackendCapabilities {
  /** `append` works. */
  readonly append: boolean
  /** `copy` works, and without moving the bytes through this process. */
  readonly copy: boolean
  /** `setModificationTime` works. */
  readonly setModificationTime: boolean
  /** The longest file that the store takes: beyond it, EFBIG. */
  readonly maxFileBytes: number
  /** The longest path that the store takes, UTF-8: beyond it, ENAMETOOLONG. */
  readonly maxPathBytes: number
  /** Bytes a write should have: the size of the parts an upload is made of. */
  readonly partSizeBytes: number
}

export interface Backend {
  readonly capabilities: BackendCapabilities
  /** Whether the store can hold this path exactly as it is; false is answered with EINVAL before anything is done. */
  accepts(path: string): boolean
  /** null when nothing is there. */
  stat(path: string): Promise<ObjectStat | null>
  /** The entries of a directory, in any order, each name once; the directory itself and the reserved directory are left out. [] when it is missing. */
  list(path: string): Promise<DirectoryEntry[]>
  /**
   * Exactly `lengthBytes` (> 0) bytes from `offset` on, of the object's `version`; the caller owns them. ESTALE when the
   * object is another version or shorter: it was replaced. ENOENT when it is gone.
   */
  read(path: string, offset: number, lengthBytes: number, version: string): Promise<Uint8Array>
  /** Store a whole object; what was there before is replaced atomically, if it is what was expected. */
  write(path: string, data: Uint8Array, expected: ExpectedVersion): Promise<ObjectStat>
  /** Start an upload that replaces `path` atomically when it is closed, if what is there then is what was expected. */
  createWriter(path: string, expected: ExpectedVersion): Promise<BackendWriter>
  /** Append to an existing object. Only where the capability says so. */
  append(path: string, data: Uint8Array): Promise<ObjectStat>
  /** Make `to` a copy of the object at `from`, within the store. Only where the capability says so. */
  copy(from: string, to: string, expected: ExpectedVersion): Promise<ObjectStat>
  createDirectory(path: string): Promise<void>
  /** The directory is known to be empty, or the store refuses with ENOTEMPTY. */
  removeDirectory(path: string): Promise<void>
  removeFile(path: string): Promise<void>
  /** Move an object or a tree. An existing file at `to` is replaced; a directory at `to` is empty. */
  rename(from: string, to: string, kind: EntryKind): Promise<void>
  setModificationTime(path: string, mtime: Timestamp): Promise<void>
  usage(): Promise<StorageUsage>
}
