/** Losses of one store that are shown one by one; the counts have all of them. */
const MAX_RECENT = 16

/** Data that the guest was told is written, and that its file does not have. */
export interface Loss {
  /** Within the mount. */
  readonly path: string
  /** `conflict`: somebody else's version is stored; `lost`: the store refused the data for good. */
  readonly kind: 'lost' | 'conflict'
  readonly error: Error
  /** Where the guest's version is; null: nowhere. */
  readonly keptAs: string | null
}

/** What one store's files have lost since it was mounted. */
export class Losses {
  lost = 0
  conflicts = 0
  /** The last ones, the newest at the end. */
  readonly recent: Loss[] = []
  /** Is told of each, once: for the log. */
  listener: ((loss: Loss) => void) | null = null

  get count(): number {
    return this.lost + this.conflicts
  }

  note(loss: Loss): void {
    if (loss.kind === 'lost') this.lost++
    else this.conflicts++
    this.recent.push(loss)
    if (this.recent.length > MAX_RECENT) this.recent.shift()
    this.listener?.(loss)
  }
}
