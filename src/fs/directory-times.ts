import type { Timestamp } from '../backends/backend.js'
import type { Inode } from './inode.js'

/** Directories that were changed here and forgotten since: of the oldest beyond them the store's own time is shown again. */
const MAX_DIRECTORIES = 16_384

interface DirectoryTime {
  readonly mtime: Timestamp
  readonly ctime: Timestamp
  readonly ownChangesUntilMs: number
}

/**
 * The times that directories had here when the guest forgot them, by path. Without them a directory would have another time each time
 * that the guest finds it anew: the store's, which is that of the last upload into it, or of its marker, or none.
 */
export class DirectoryTimes {
  private readonly times = new Map<string, DirectoryTime>()

  /** The directory leaves memory. */
  keep(inode: Inode): void {
    const { mtime, ctime, ownChangesUntilMs, isUnlinked } = inode
    const path = inode.path()
    this.times.delete(path)
    if (ownChangesUntilMs === 0 || isUnlinked) return
    this.times.set(path, { mtime, ctime, ownChangesUntilMs })
    if (this.times.size <= MAX_DIRECTORIES) return
    for (const oldest of this.times.keys()) {
      this.times.delete(oldest)
      return
    }
  }

  /** The directory is back. */
  restore(inode: Inode): void {
    const path = inode.path()
    const time = this.times.get(path)
    if (time === undefined) return
    this.times.delete(path)
    Object.assign(inode, time)
  }
}
