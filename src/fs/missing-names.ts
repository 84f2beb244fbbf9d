/** Names that all directories of a mount remember to be missing: some 30 MiB of them. */
const MAX_MISSING_NAMES = 262_144

/** A directory that remembers some. */
interface Holder {
  forgetAllMissing(): void
}

/** Counts them, and has the directory forget its own that began to remember first where there are too many. */
export class MissingNames {
  private readonly holders = new Set<Holder>()
  private used = 0

  constructor(private readonly limit = MAX_MISSING_NAMES) {}

  get count(): number {
    return this.used
  }

  added(directory: Holder): void {
    this.used++
    this.holders.add(directory)
    while (this.used > this.limit) {
      const [oldest] = this.holders
      if (oldest === undefined) return
      oldest.forgetAllMissing()
      this.holders.delete(oldest)
    }
  }

  /** `hasMore`: the directory remembers others still. */
  removed(directory: Holder, count: number, hasMore: boolean): void {
    this.used -= count
    if (!hasMore) this.holders.delete(directory)
  }
}
