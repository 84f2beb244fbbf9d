/**
 * Which directories of the host are to be fsynced before something in them is called durable, and that it is done once for all who wait:
 *
 *     commit a ─ rename ┐
 *     commit b ─ rename ┴ fsync of the directory ─ a and b are answered
 *     commit c ─ rename ──────┴ the next fsync ─ c is answered
 *
 * A commit that is alone in its directory has it fsynced in the same hop to a thread.
 */

/** Directories with changes that are remembered for a later fsync of the guest's: beyond it the one that waits longest is fsynced. */
const MAX_CHANGED = 10_000

interface Round {
  readonly done: Promise<void>
  /** Whoever comes while an fsync runs may have changed the directory behind it. */
  next: Promise<void> | null
}

export interface Committed<T> {
  readonly result: T
  /** null: none. */
  readonly syncError: unknown
}

export function parentOf(path: string): string {
  return path.slice(0, Math.max(0, path.lastIndexOf('/')))
}

export class DirectorySyncs {
  /** Commits that are under way, by directory. */
  private readonly commits = new Map<string, number>()
  private readonly rounds = new Map<string, Round>()
  /** Directories whose names changed and that were not fsynced since; true: other directories were made there or moved there. */
  private readonly changed = new Map<string, boolean>()

  constructor(private readonly fsync: (directory: string) => Promise<void>) {}

  /** A name came, went or changed at `path`, as said by the guest: durable when it asks for that, or when a file below is stored. */
  async noteChange(path: string, isNewDirectory: boolean): Promise<void> {
    const directory = parentOf(path)
    const wasNew = this.changed.get(directory) ?? false
    this.changed.delete(directory)
    this.changed.set(directory, wasNew || isNewDirectory)
    if (this.changed.size <= MAX_CHANGED) return
    const [oldest] = this.changed.keys()
    if (oldest !== undefined) await this.sync(oldest)
  }

  /** The directory is gone: nothing of it is to be kept. */
  forget(directory: string): void {
    this.changed.delete(directory)
  }

  /**
   * Run the commit of a file at `path`, which fsyncs the directory itself if it is told to. What it has stored, and the way to it, is
   * durable when this resolves, if there is no error with it.
   */
  async commit<T>(path: string, work: (syncsDirectory: boolean) => Promise<T>): Promise<Committed<T>> {
    const directory = parentOf(path)
    const others = this.commits.get(directory) ?? 0
    this.commits.set(directory, others + 1)
    try {
      const result = await work(others === 0)
      const syncError = await this.syncNames(directory, others > 0)
      return { result, syncError }
    } finally {
      const left = (this.commits.get(directory) ?? 1) - 1
      if (left === 0) this.commits.delete(directory)
      else this.commits.set(directory, left)
    }
  }

  /** Returns what went wrong. */
  private async syncNames(directory: string, isShared: boolean): Promise<unknown> {
    try {
      if (isShared) await this.sync(directory)
      await this.syncWayTo(directory)
      return null
    } catch (error) {
      return error
    }
  }

  /** The directories above that hold new ones: a file is not durable in a directory that is not. */
  private async syncWayTo(directory: string): Promise<void> {
    if (this.changed.size === 0) return
    for (let at = directory; at !== '';) {
      at = parentOf(at)
      if (this.changed.get(at) === true) await this.sync(at)
    }
  }

  /** All changes of names, or those in one directory and on the way to it. */
  async syncChanges(directory?: string): Promise<void> {
    if (directory === undefined) {
      await Promise.all([...this.changed.keys()].map((changed) => this.sync(changed)))
      return
    }
    if (this.changed.has(directory)) await this.sync(directory)
    await this.syncWayTo(directory)
  }

  /** One fsync that begins after this call, shared by all who ask before it does. */
  sync(directory: string): Promise<void> {
    const round = this.rounds.get(directory)
    if (round === undefined) return this.start(directory)
    const start = (): Promise<void> => this.start(directory)
    round.next ??= round.done.then(start, start)
    return round.next
  }

  private start(directory: string): Promise<void> {
    const change = this.changed.get(directory)
    this.changed.delete(directory)
    const done = this.fsync(directory)
    const round: Round = { done, next: null }
    this.rounds.set(directory, round)
    const end = (): void => {
      if (round.next === null) this.rounds.delete(directory)
    }
    done.then(end, () => {
      if (change !== undefined) this.changed.set(directory, change || (this.changed.get(directory) ?? false))
      end()
    })
    return done
  }
}
