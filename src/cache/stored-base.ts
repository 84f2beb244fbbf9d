import type { WriteMark } from '../backends/backend.js'

/** What the store told of an object: enough to know whether it is the same. */
export interface StoredObject {
  readonly sizeBytes: number
  readonly version: string
}

/** One write of the file's contents, as long as nobody knows whether it was done. */
export interface Attempt {
  readonly mark: WriteMark
  /** Of the object, if it was made. */
  sizeBytes: number
  /** Bytes of that object that still show through: the smallest size that the file has had since. */
  limit: number
  /** The writer's count of changes when the contents were taken. */
  readonly changes: number
}

/**
 * The stored object below a file's contents. `limit` <= `sizeBytes`: a file cut short and grown again shows zeros, not the old bytes.
 * A version gets here only if the contents are known to be of it: as they were read, or as a write of ours has made it.
 */
export class StoredBase {
  private currentVersion: string | null
  private currentSizeBytes: number
  private currentLimit: number
  /** What a file that is not stored yet may replace: see `mayReplace`. */
  private replaceable: string | null = null

  constructor(stored: StoredObject | null) {
    this.currentVersion = stored?.version ?? null
    this.currentSizeBytes = stored?.sizeBytes ?? 0
    this.currentLimit = this.currentSizeBytes
  }

  /** null when nothing was stored yet. */
  get version(): string | null {
    return this.currentVersion
  }

  get isStored(): boolean {
    return this.currentVersion !== null
  }

  get sizeBytes(): number {
    return this.currentSizeBytes
  }

  /** Bytes of the stored object that still show through. */
  get limit(): number {
    return this.currentLimit
  }

  /** What a commit replaces, and nothing else that came meanwhile: a version, or null for nothing. */
  get expected(): string | null {
    return this.currentVersion ?? this.replaceable
  }

  /** The file is new and was renamed over a stored one: its first commit replaces that version. */
  mayReplace(version: string | null): void {
    this.replaceable = version
  }

  /** The file was cut. */
  cut(size: number): void {
    this.currentLimit = Math.min(this.currentLimit, size)
  }

  /** A call of ours has changed the object, and not its contents. False: what it changed is another version than this. */
  renew(previous: string, version: string): boolean {
    if (this.expected !== previous) return false
    if (this.currentVersion === null) this.replaceable = version
    else this.currentVersion = version
    return true
  }

  /** The object is what a write of ours has made of the file. */
  written({ sizeBytes, version }: StoredObject, limit: number): void {
    this.currentVersion = version
    this.currentSizeBytes = sizeBytes
    this.currentLimit = Math.min(sizeBytes, limit)
    this.replaceable = null
  }

  /** Part of an append was done: the object is longer, and what shows through is not. */
  lengthened({ sizeBytes, version }: StoredObject): void {
    this.currentVersion = version
    this.currentSizeBytes = sizeBytes
  }

  /** The contents are those of another object from now on, or nothing is changed of this one any more. */
  replace(stored: StoredObject): void {
    this.written(stored, stored.sizeBytes)
  }

  /** Nothing was changed after all. */
  uncut(): void {
    this.currentLimit = this.currentSizeBytes
  }
}
