/**
 * What an object store has to be able to do for `ObjectStoreBackend`, which makes files and directories of it. A client sends
 * requests and reads answers; what a key means, when a condition is needed and whose write was done is not its business.
 *
 * Keys are relative to the mount's root and are sent exactly as they are: empty segments, "." and ".." in them are names like
 * any other here, for they may be in a listing. Every method rejects with a `StorageError`, whose outcome says whether the
 * store may have been changed.
 */
import type { ConditionKind, ExpectedVersion, StoreConditions, Timestamp } from '../backend.js'
import type { Headers, Metadata } from './file-attributes.js'

/** Of what is stored: an etag in quotes, or what else tells versions apart. */
export interface ObjectHead {
  readonly sizeBytes: number
  readonly version: string
  readonly mtime: Timestamp | null
  /** The user's, by names in lower case without their prefix; {} where the service keeps none. */
  readonly metadata: Metadata
  /** What a copy with other metadata has to be told again. */
  readonly keptHeaders: Headers
  /** It stands for a directory, though its key does not end in "/": another client's way. */
  readonly isMarker?: boolean
}

/** An object that a listing tells of. */
export interface ListedObject {
  readonly key: string
  /** null where the listing does not tell it, or is known to tell it wrong. */
  readonly sizeBytes: number | null
  /** '' where the listing does not tell it. */
  readonly version: string
  readonly mtime: Timestamp | null
  /** As in its head. */
  readonly isMarker?: boolean
  /** As in its head, as far as the listing tells. */
  readonly keptHeaders?: Headers
}

export interface ObjectPage {
  readonly objects: readonly ListedObject[]
  /** What keys have in common up to the next "/", that "/" included. */
  readonly prefixes: readonly string[]
  /** What the next page is asked for with; null after the last one. */
  readonly next: string | null
}

export interface PageRequest {
  /** All keys begin with it. */
  readonly prefix: string
  /** Keys with a further "/" are told by what stands before it. */
  readonly isFlat: boolean
  /** `next` of the page before; null for the first. */
  readonly token: string | null
  /** undefined: as many as the server gives. */
  readonly maxKeys?: number | undefined
}

/** How what stands at a key is to be made. */
export interface StoreRequest {
  /**
   * What may be replaced: sent as a condition. undefined: sent without one, and only once, for somebody may have stored
   * something before a second try.
   */
  readonly condition: ExpectedVersion
  readonly metadata: Metadata
  /** The object is the marker of a directory. */
  readonly isMarker?: boolean
}

/** What is copied: of this version or not at all, as far as the server knows such a condition. */
export interface CopySource {
  readonly key: string
  readonly version: string
  readonly sizeBytes: number
  /** Those of its head; absent where only its listing is known. */
  readonly keptHeaders?: Headers
}

export interface CopyRequest {
  readonly condition: ExpectedVersion
  /** null: that of the source. Else the source's `keptHeaders` have to be known. */
  readonly metadata: Metadata | null
  /** What is there may be replaced a second time: nothing is lost by it but what came between two tries. */
  readonly mayRepeat?: boolean
}

/** An upload in parts: nothing is visible until `complete`, which may be called again after an error. */
export interface PartsUpload {
  /** Parts have numbers from 1 on; they may be sent side by side, and again. */
  append(number: number, data: Uint8Array): Promise<void>
  /** What can be done before the target is looked at. */
  prepare?(): Promise<void>
  /** Make the object of the parts 1 to the highest. Returns its version. */
  complete(condition: ExpectedVersion): Promise<string>
  /** It is complete, as an answer or a look has told: what was noted of it is not needed any more. Never rejects. */
  finish(): Promise<void>
  /** Whether an object is this upload's, where its mark does not tell: its version is that of these very parts. */
  isResult(head: ObjectHead): boolean
  /** Never rejects. */
  abort(): Promise<void>
}

export interface ObjectClientLimits {
  readonly maxObjectBytes: number
  /** Of a path below the mount's root. */
  readonly maxPathBytes: number
  /** What a part should have. */
  readonly partSizeBytes: number
  /** A shorter part must be the last one. */
  readonly minPartBytes: number
  /** Longer objects are copied as an upload in parts is made, under the same conditions. */
  readonly maxCopyBytes: number
  /** Parts of all uploads of a mount that are under way at once. */
  readonly partsAtOnce: number
}

export interface ObjectClient {
  readonly limits: ObjectClientLimits
  /** False: the mount is read-only. */
  readonly canWrite: boolean
  /** `copy` works. */
  readonly canCopy: boolean
  /** Of a page, where directories are listed page by page; Infinity: as many as the server gives. null: all of a list is one page. */
  readonly pageKeys: number | null
  /** Other clients of the service mark directories by objects without a "/" at the end: see `ObjectHead.isMarker`. */
  readonly hasBareMarkers?: boolean
  /** The service keeps metadata with an object, and `head` tells it. */
  readonly keepsMetadata: boolean
  /** Which conditions the service is known to honour ("server") or not to ("look"); the others are probed. */
  readonly conditions: StoreConditions
  /** Whether the service can hold this key exactly as it is. */
  accepts(key: string): boolean
  /** null when there is no such object. EIO where its size can't be had: an unknown size is never 0. */
  head(key: string): Promise<ObjectHead | null>
  /** Exactly these bytes of this version; ESTALE where it is another one or shorter, ENOENT where it is gone. */
  read(key: string, offset: number, lengthBytes: number, version: string): Promise<Uint8Array>
  /** Returns the version. ESTALE where the condition does not hold. */
  put(key: string, data: Uint8Array, request: StoreRequest): Promise<string>
  /** Returns the version of the copy, which has been made. ESTALE where a condition does not hold. */
  copy(source: CopySource, to: string, request: CopyRequest): Promise<string>
  /** Change the metadata of this version and leave the rest as it is. Returns the version that it has then. ESTALE of another one. */
  setMetadata(key: string, head: ObjectHead, metadata: Metadata): Promise<string>
  /** What is gone already is no error. With a version: ESTALE of another one, where the server honours that. */
  delete(key: string, version?: string): Promise<void>
  listPage(request: PageRequest): Promise<ObjectPage>
  beginUpload(key: string, metadata: Metadata): Promise<PartsUpload>
  /** Some servers want the version in conditions without its quotes (Ceph before 18 compares the bytes of the header). */
  useBareEtags?(): void
  readonly hasLeftovers: boolean
  /** `names` are those in the reserved directory. Returns how many uploads were ended. */
  removeLeftovers(names: readonly string[]): Promise<number>
  reportRetries(listener: () => void): void
}

/** What is known of conditions before anything was tried. */
export const UNKNOWN_CONDITIONS: StoreConditions = allConditions('unknown')

export function allConditions(kind: ConditionKind): StoreConditions {
  return { create: kind, replace: kind, complete: kind, copy: kind, remove: kind }
}
