import { FsError } from './fs-error.js'

/** The guest's handle on an open file or directory; given out again after its release. */
export type FileHandle = number & { readonly brand: 'FileHandle' }

/** A handle that was closed from our side. The guest still has it, so its number must not be given out again. */
const REVOKED = Symbol('revoked')

/** fh -> open file or directory. Handles start at 1: an fh of 0 is no handle. */
export class HandleTable<T extends object> {
  private readonly entries: (T | typeof REVOKED | undefined)[] = [undefined]
  private readonly free: number[] = []

  get count(): number {
    return this.entries.length - 1 - this.free.length
  }

  add(entry: T): FileHandle {
    const fh = this.free.pop() ?? this.entries.length
    this.entries[fh] = entry
    return fh as FileHandle
  }

  /** EBADF for a handle that is not open, EIO for one whose mount was removed. */
  get(fh: number): T {
    const entry = this.entries[fh]
    if (entry === undefined) throw new FsError('EBADF', `fh ${fh} is not open`)
    if (entry === REVOKED) throw new FsError('EIO', `the mount of fh ${fh} was removed`)
    return entry
  }

  /** The guest gives the handle back: what it was of, null when that is closed already. EBADF for one that is not open. */
  take(fh: number): T | null {
    const entry = this.entries[fh]
    if (entry === undefined) throw new FsError('EBADF', `fh ${fh} is not open`)
    this.entries[fh] = undefined
    this.free.push(fh)
    return entry === REVOKED ? null : entry
  }

  some(isWanted: (entry: T) => boolean): boolean {
    return this.entries.some((entry) => isOpen(entry) && isWanted(entry))
  }

  forEach(visit: (entry: T) => void): void {
    for (const entry of this.entries) if (isOpen(entry)) visit(entry)
  }

  /** Take out what is wanted; the guest's use of those handles is answered with EIO until it gives them back. */
  revoke(isWanted: (entry: T) => boolean): T[] {
    const revoked: T[] = []
    for (const [fh, entry] of this.entries.entries()) {
      if (!isOpen(entry) || !isWanted(entry)) continue
      revoked.push(entry)
      this.entries[fh] = REVOKED
    }
    return revoked
  }

  /** All that is open, taken out. */
  drain(): T[] {
    const open = this.entries.filter(isOpen)
    this.entries.length = 1
    this.free.length = 0
    return open
  }
}

function isOpen<T>(entry: T | typeof REVOKED | undefined): entry is T {
  return entry !== undefined && entry !== REVOKED
}
