/** Beyond this many the oldest is forgotten: then its repetition is told ENOTEMPTY, and nothing is lost. */
const MAX_UNFINISHED = 1000

/**
 * Renames of directories that failed while the store moved object by object: a part is at the target already. A
 * repeated rename would be told ENOTEMPTY for its own work there, and never be completed.
 */
export class UnfinishedMoves {
  private readonly targets = new Map<string, string>()

  /** Paths within the mount. */
  note(from: string, to: string): void {
    this.targets.delete(from)
    this.targets.set(from, to)
    if (this.targets.size <= MAX_UNFINISHED) return
    for (const oldest of this.targets.keys()) {
      this.targets.delete(oldest)
      return
    }
  }

  has(from: string, to: string): boolean {
    return this.targets.get(from) === to
  }

  /** The directory at `path` has been moved or removed. */
  forget(path: string): void {
    for (const [from, to] of this.targets) {
      if (from === path || to === path) this.targets.delete(from)
    }
  }
}
