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

/** Mode and owner as a store keeps them. null: it keeps none that is valid, and the mount's own counts. */
export interface Permissions {
  /** Permission bits, 0..0o7777. */
  readonly mode: number | null
  /** 0..0xfffffffe. */
  readonly uid: number | null
  readonly gid: number | null
}

/** What a store keeps beside the contents, where it keeps anything. */
export interface FileAttributes extends Permissions {
  readonly mtime: Timestamp
}

/** What is to become of attributes; undefined = leave as it is. */
export interface AttributeChanges {
  readonly mode?: number | undefined
  readonly uid?: number | undefined
  readonly gid?: number | undefined
  readonly mtime?: Timestamp | undefined
}

export interface ObjectStat {
  readonly kind: EntryKind
  /** 0 for directories. */
  readonly sizeBytes: number
  /** null where the store keeps none. */
  readonly mtime: Timestamp | null
  /** Changes when the contents change: an etag, or mtime and size. '' where the store has nothing to tell versions apart. */
  readonly version: string
  /** Only of stores with the capability `attributes`. */
  readonly permissions?: Permissions
}

/** An object whose attributes were changed and whose contents were not. */
export interface AttributesChanged {
  /** The version that it had: whether the contents are those that the caller knows. */
  readonly previousVersion: string
  readonly stat: ObjectStat
}

export interface DirectoryEntry {
  readonly name: string
  readonly kind: EntryKind
  /** Present where the listing itself carried the attributes. */
  readonly stat: ObjectStat | null
}

/** A piece of a directory's listing. */
export interface DirectoryPage {
  /** In the store's own order; there may be none, and more may follow all the same. */
  readonly entries: readonly DirectoryEntry[]
  /** What the next page is asked for with, of the same directory of the same backend; null: this was the last one. */
  readonly next: string | null
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

/**
 * Names one write: 32 hexadecimal digits, drawn at random by whoever writes (`newWriteMark`). Where the service keeps metadata it is
 * stored with the object, so that a write whose answer was lost is recognised as ours, whatever version the store gave it.
 */
export type WriteMark = string

/** What goes with the contents of a write. */
export interface WriteOptions {
  /** Stored where the capability says so; undefined: none. */
  readonly attributes?: FileAttributes | undefined
  /** undefined: nobody will ask whose write it was. */
  readonly mark?: WriteMark | undefined
}

export interface CopyOptions extends WriteOptions {
  /** Version of the object that is copied; ESTALE where another one is there. undefined: whichever it is. */
  readonly sourceVersion?: string | undefined
}

/** An object and whose write it is. */
export interface IdentifiedObject {
  readonly stat: ObjectStat
  /** null where the object has none, or the service keeps none. */
  readonly mark: WriteMark | null
}

/** One file that a rename has moved. */
export interface MovedFile {
  readonly from: string
  readonly to: string
  /** The version that was moved. */
  readonly previousVersion: string
  /** What the move made of it. */
  readonly stat: ObjectStat
}

export interface RenameOptions {
  /** A file's version as the caller knows it; another one is moved all the same, and told by `moved`. */
  readonly version?: string | undefined
  /** Told of each file whose version was changed by being moved, as this call made it: never what somebody else stored there. */
  readonly moved?: ((file: MovedFile) => void) | undefined
}

/** What an append continues: the object as the caller knows it. */
export interface AppendBase {
  readonly version: string
  readonly sizeBytes: number
}

/** How a condition is kept: by the server itself, by a look right before (which leaves a moment), or not known yet. */
export type ConditionKind = 'server' | 'look' | 'unknown'

/** Which of the conditions that this daemon relies on the store honours. */
export interface StoreConditions {
  /** A new object, only where none is. */
  readonly create: ConditionKind
  /** A new version, only in place of a certain one. */
  readonly replace: ConditionKind
  /** The same two for uploads in parts, as they become visible. */
  readonly complete: ConditionKind
  /** A copy within the store, only in place of a certain version. */
  readonly copy: ConditionKind
  /** A removal, only of a certain version. */
  readonly remove: ConditionKind
}

/** One upload: bytes in order, visible as a whole when `close` resolves and not before. */
export interface BackendWriter {
  /** `data` is the writer's and must not change until `whenSent`; calls must not overlap. A failure may be told by a later call. */
  write(data: Uint8Array): Promise<void>
  /** After an error of `write` that is retryable, nothing of `data` was taken, and the same call may be made again. Absent: nobody knows. */
  readonly resumes?: boolean
  /**
   * Of `data` that `write` has taken: resolves when it is not needed any more. Rejects where it may be read still, for it
   * could not be stored. Absent where `write` resolves no sooner.
   */
  whenSent?(data: Uint8Array): Promise<void>
  /**
   * Make the object visible. Returns its new stat. After an error that is retryable, or whose outcome is unknown, the upload is
   * kept and `close` may be called again: it looks whether the earlier call was done, and else does it. Other errors are final.
   */
  close(): Promise<ObjectStat>
  /** Give up; what was stored before at the path stays. Never rejects. */
  abort(): Promise<void>
}

export interface BackendCapabilities {
  /** Anything can be changed; else the mount is read-only. */
  readonly write: boolean
  /** `append` works. */
  readonly append: boolean
  /** `copy` works, and without moving the bytes through this process. */
  readonly copy: boolean
  /** `setModificationTime` works. */
  readonly setModificationTime: boolean
  /** Mode, owner and time are kept where they are given, and `setAttributes` works. */
  readonly attributes: boolean
  /** The time among a write's attributes is kept, though nothing else of them is. Absent: no. */
  readonly keepsWrittenTimes?: boolean
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
  /** null when nothing is there. `kind` is what a listing said is there: a hint that may spare a request. */
  stat(path: string, kind?: EntryKind): Promise<ObjectStat | null>
  /** The entries of a directory, in any order, each name once; the directory itself and the reserved directory are left out. [] when it is missing. */
  list(path: string): Promise<DirectoryEntry[]>
  /**
   * The same, page by page: the first one with null, each other with `next` of the one before it. What is there throughout is in
   * exactly one of them; what comes or goes meanwhile may or may not be. Any page may be asked for again. `maxEntries`: more are not
   * needed, though there may be more. Absent where the service lists only all at once.
   */
  listPage?(path: string, token: string | null, maxEntries?: number): Promise<DirectoryPage>
  /**
   * The same of a directory whose listing costs about as much as a look at a few names; null of a larger one. Absent where it
   * is never so cheap.
   */
  listSmall?(path: string): Promise<DirectoryEntry[] | null>
  /** Listings tell of each entry what `stat` would, and one is worth many looks. Absent: no; an entry may have its stat all the same. */
  readonly listsStats?: boolean
  /**
   * Exactly `lengthBytes` (> 0) bytes from `offset` on, of the object's `version`; the caller owns them. ESTALE when the
   * object is another version or shorter: it was replaced. ENOENT when it is gone.
   */
  read(path: string, offset: number, lengthBytes: number, version: string): Promise<Uint8Array>
  /** Reads may be answered from a copy, and do not tell that the store has this version still. Absent: they do. */
  readonly readsCopies?: boolean
  /**
   * Store a whole object; what was there before is replaced atomically, if it is what was expected. Calls are sent again only
   * under the same condition: what looks like somebody else's write and has our `mark` is this call's own.
   */
  write(
    path: string,
    data: Uint8Array,
    expected: ExpectedVersion,
    options?: WriteOptions,
  ): Promise<ObjectStat>
  /** Start an upload that replaces `path` atomically when it is closed, if what is there then is what was expected. */
  createWriter(path: string, expected: ExpectedVersion, options?: WriteOptions): Promise<BackendWriter>
  /**
   * Append to an existing object, if it is what `base` says; else ESTALE, and nothing of `data` is in it. Only where the
   * capability says so.
   */
  append(path: string, data: Uint8Array, base: AppendBase): Promise<ObjectStat>
  /** Make `to` a copy of the object at `from`, within the store. Only where the capability says so. */
  copy(from: string, to: string, expected: ExpectedVersion, options?: CopyOptions): Promise<ObjectStat>
  /**
   * What is stored at `path` and by which write: whether a write whose answer was lost was done. null when nothing is there.
   * Absent where the store has nothing to tell writes apart but their versions.
   */
  identify?(path: string): Promise<IdentifiedObject | null>
  createDirectory(path: string, attributes?: FileAttributes): Promise<void>
  /** The directory is known to be empty, or the store refuses with ENOTEMPTY. */
  removeDirectory(path: string): Promise<void>
  removeFile(path: string): Promise<void>
  /**
   * Move an object or a tree. An existing file at `to` is replaced; a directory at `to` is empty. Where that is a copy and a
   * removal, only the version that was copied is removed.
   */
  rename(from: string, to: string, kind: EntryKind, options?: RenameOptions): Promise<void>
  /**
   * Changes of names in the directory, or in all of them, outlive a crash of the store from now on. Absent where they do when they are
   * answered.
   */
  syncNames?(directory?: string): Promise<void>
  /**
   * Give the file at `path` a second place at `aside`, which is free and in the reserved directory, so that something else may be
   * renamed over `path` while the file is in use: by a link or a copy, of the same version where it is a link. What is at `path` stays.
   * Absent where the store is to be given the bytes again for that.
   */
  keepAside?(path: string, aside: string): Promise<ObjectStat>
  /** Tells the version that had the time before, and what this call has made of it. */
  setModificationTime(path: string, mtime: Timestamp): Promise<AttributesChanged>
  /**
   * Change what is kept beside the contents, whichever version they are. Only where the capability says so. ENOENT when
   * nothing is there; EBUSY when somebody else changes the object again and again meanwhile.
   */
  setAttributes(path: string, kind: EntryKind, changes: AttributeChanges): Promise<AttributesChanged>
  /** This backend left something unfinished in the store, which was away: `removeLeftovers` is asked until this is false. */
  readonly hasLeftovers?: boolean
  /** Remove what was left unfinished in the store, by a killed daemon or by this one; returns how many. Asked when the mount begins. */
  removeLeftovers?(): Promise<number>
  usage(): Promise<StorageUsage>
  /** Which conditions are left to the store, as far as is known by now. Absent where the question makes no sense. */
  conditions?(): StoreConditions
  /** Names that the last listing of each directory left out, since no file can have them. Absent where there are none. */
  readonly unlistable?: number
  /** `listener` is told of each directory of which names were left out, once, how many they are, and the key of one. */
  reportUnlistable?(listener: (directory: string, count: number, example: string) => void): void
  /** `listener` is told of each request that this backend's own client sends again from now on. Absent where it has no such client. */
  reportRetries?(listener: () => void): void
}
