import type { AttributesChanged, Backend, FileAttributes, ObjectStat } from '../backends/backend.js'
import type { StagedAttributes } from './staged-record.js'
import type { StoreAccount } from './store-account.js'

/** What a file's content needs to know of the file: implemented by the file system above. */
export interface ContentSource {
  readonly backend: Backend
  /** The store's account in the cache. */
  readonly account: StoreAccount
  /** Some handle of the file is open. */
  readonly isOpen: boolean
  /** Whether the file is `directory` or lies below it; an opaque token to this layer. */
  isAtOrBelow(directory: object): boolean
  /**
   * Run `work` with the file's present path. The file and its directories are not renamed until it ends, so it must
   * end: no waiting for memory or for guests in it.
   */
  withPath<T>(work: (path: string) => Promise<T>): Promise<T>
  /**
   * The store said that it has another version than the content knew: look, and replace the base if the content is clean;
   * else ESTALE. Nothing happens where the other version is our own.
   */
  revalidate(): Promise<void>
  /** Somebody else's version is stored, and the contents have come to their end: who opens the file from now on gets new ones. */
  conflicted(): void
  /** The contents were stored; `stat` is the object's new one. */
  noteStored(stat: ObjectStat): void
  /** What follows a commit; awaited before it is reported as done. The path is not held. */
  committed(): Promise<void>
  /** Mode, owner or time were changed and the store, which keeps them, does not know yet. */
  readonly hasUnsavedAttributes: boolean
  /** What is to be stored with the contents; it counts as saved from now on. undefined where the store keeps nothing. */
  takeAttributes(): FileAttributes | undefined
  /** Store the unsaved attributes alone, and tell `adopt` while the path is held. After an error they are unsaved still. */
  storeAttributes(adopt: (changed: AttributesChanged) => void): Promise<void>
  /** What a record on the local disk has to tell of the file beside its contents. */
  attributesToStage(): StagedAttributes
  /** The file's path, for those who hold it: it can't change under them. */
  readonly path: string
  /** The unsaved attributes will never be stored. */
  discardAttributes(): void
  /** The content may have become clean or empty, so that its file need not be kept any longer. */
  settled(): void
}

/** Where a READ's bytes go: the reply of one request. */
export interface ReadSink {
  push(poolOffset: number, lengthBytes: number): void
  pushZeros(lengthBytes: number): void
}

/** Where a WRITE's bytes come from: the payload of one request. */
export interface WriteSource {
  /** Copy bytes [offset, offset + lengthBytes) of the payload to the pool. */
  pull(offset: number, poolOffset: number, lengthBytes: number): void
}
