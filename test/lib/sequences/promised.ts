/**
 * What a guest may rely on, of one file: what it has written is there, or it was told that it is not. Every handle that was open
 * when data was lost is told once, and nobody else is.
 */

export interface ModelHandle {
  readonly name: string
  /** The step in which it was last told of an error; -1: never. */
  toldStep: number
  /** Data was lost while it was open, and it has not been told. */
  isUntold: boolean
}

/** Contents that a file has had, newest last, since it was last known to be stored. */
export class ModelFile {
  readonly handles = new Set<ModelHandle>()
  /** As the guest sees it. */
  data: Buffer = Buffer.alloc(0)
  private states: Buffer[] = [this.data]
  /** A sync has said that it is stored. */
  private isPromised = false
  /** The step of the last change. */
  private changedStep = 0
  /** A handle that is closed by now was told so then. */
  private toldStep = -1
  isUnlinked = false
  /** What it has replaced by a rename: it may be stored still, until this file is. */
  underneath: ModelFile | null = null

  constructor(public path: string) {}

  change(data: Buffer, step: number): void {
    this.data = data
    this.states.push(data)
    this.changedStep = step
  }

  /** Whoever waited for it was told that it is stored. */
  promised(): void {
    this.states = [this.data]
    this.isPromised = true
    this.underneath = null
  }

  /** Why the store may not have `stored` of it; null: it may. */
  whyNotStored(stored: Buffer | null): string | null {
    const why = this.whyNot(stored)
    return why === null || this.underneath === null ? why : this.underneath.whyNotStored(stored)
  }

  told(handle: ModelHandle | null, step: number): void {
    this.toldStep = step
    if (handle === null) return
    handle.toldStep = step
    handle.isUntold = false
  }

  /** Why the file may not be as `seen` now; null: it may. Null for `seen`: it is not there at all. */
  whyNot(seen: Buffer | null): string | null {
    if (seen === null) return this.isPromised ? 'it is gone, though a sync has said that it is stored' : null
    if (!this.states.some(({ length }) => length === seen.length)) return `it never had ${seen.length} bytes`
    for (let at = 0; at < seen.length; at++) {
      if (!this.states.some((state) => state[at] === seen[at]))
        return `byte ${at} was never ${seen[at] ?? ''}`
    }
    return null
  }

  /** Data is gone, and what the guest sees is `seen`. Returns what is wrong with that, if anything is. */
  lost(seen: Buffer | null, wasNoted: boolean): string | null {
    const why = this.whyNot(seen)
    if (why !== null) return why
    const open = [...this.handles]
    for (const handle of open) if (handle.toldStep < this.changedStep) handle.isUntold = true
    this.data = seen ?? Buffer.alloc(0)
    // What is stored may be older still.
    this.states.push(this.data)
    if (open.length > 0 || wasNoted || this.toldStep >= this.changedStep) return null
    return 'data of a closed file is gone, and nobody was told'
  }
}
