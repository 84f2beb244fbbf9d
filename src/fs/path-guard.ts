import { holding, mayWaitFor } from '../observability/lock-order.js'
import { FsError } from './fs-error.js'
import type { Inode } from './inode.js'

/**
 * Keeps paths true while stores use them. A use of an inode's path counts until it ends; a move waits until no use
 * below the moved inodes is left, and holds back new ones meanwhile. One move at a time per mount. Its place among what makes
 * others wait: `observability/lock-order.ts`.
 */
export class PathGuard {
  private readonly uses = new Map<Inode, number>()
  private moving: readonly Inode[] = []
  private moveQueue: Promise<void> = Promise.resolve()
  private waiting: (() => void)[] = []

  /** Run `work` while no directory above `inode`, nor itself, is moved. @throws FsError ESTALE where it was removed meanwhile */
  use<T>(inode: Inode, work: () => Promise<T>): Promise<T> {
    return this.useAll([inode], work)
  }

  /** The same for several inodes, taken at once: one after the other, a move of both in between would wait for ever. */
  async useAll<T>(inodes: readonly Inode[], work: () => Promise<T>): Promise<T> {
    mayWaitFor('paths')
    while (inodes.some((inode) => this.isMoving(inode))) await this.nextChange()
    if (inodes.some(({ isGone }) => isGone)) throw new FsError('ESTALE', 'the file was removed')
    for (const inode of inodes) this.uses.set(inode, (this.uses.get(inode) ?? 0) + 1)
    try {
      return await holding('paths', work)
    } finally {
      for (const inode of inodes) this.endUse(inode)
      this.changed()
    }
  }

  private endUse(inode: Inode): void {
    const left = (this.uses.get(inode) ?? 1) - 1
    if (left === 0) this.uses.delete(inode)
    else this.uses.set(inode, left)
  }

  /** Run `work` while nothing uses a path at or below any of `inodes`. `work` itself must not call `use` on them. */
  async move<T>(inodes: readonly Inode[], work: () => Promise<T>): Promise<T> {
    mayWaitFor('paths')
    const previous = this.moveQueue
    let done: () => void = () => undefined
    this.moveQueue = new Promise((resolve) => {
      done = resolve
    })
    await previous
    this.moving = inodes
    try {
      while (this.hasUseBelow(inodes)) await this.nextChange()
      return await holding('paths', work)
    } finally {
      this.moving = []
      this.changed()
      done()
    }
  }

  /** No path of the mount is being used or moved. */
  get isIdle(): boolean {
    return this.uses.size === 0 && this.moving.length === 0
  }

  private isMoving(inode: Inode): boolean {
    return this.moving.length > 0 && this.moving.some((moved) => inode.isAtOrBelow(moved))
  }

  private hasUseBelow(inodes: readonly Inode[]): boolean {
    for (const used of this.uses.keys()) {
      if (inodes.some((moved) => used.isAtOrBelow(moved))) return true
    }
    return false
  }

  private nextChange(): Promise<void> {
    return new Promise((resolve) => this.waiting.push(resolve))
  }

  private changed(): void {
    if (this.waiting.length === 0) return
    const woken = this.waiting
    this.waiting = []
    for (const wake of woken) wake()
  }
}
