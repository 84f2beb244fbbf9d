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

/** Names came, went or changed. */
interface Change {
  /** Other directories were made there or moved there. */
  readonly hasNewDirectory: boolean
}

interface Round {
  readonly done: Promise<void>
  /** What was noted when the fsync began. */
  readonly change: Change | undefined
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
  /** Directories whose names changed, until an fsync that began after that has ended. */
  private readonly changed = new Map<string, Change>()

  constructor(private readonly fsync: (directory: string) => Promise<void>) {}

  /** A name came, went or changed at `path`, as said by the guest: durable when it asks for that, or when a file below is stored. */
  async noteChange(path: string, isNewDirectory: boolean): Promise<void> {
    const directory = parentOf(path)
    const hasNewDirectory = isNewDirectory || this.changed.get(directory)?.hasNewDirectory === true
    this.changed.delete(directory)
    this.changed.set(directory, { hasNewDirectory })
    if (this.changed.size <= MAX_CHANGED) return
    const [oldest] = this.changed.keys()
    if (oldest !== undefined) await this.settle(oldest)
  }

  /** The directory is at another path, and with it what is remembered of it and of those below. */
  move(from: string, to: string): void {
    this.changed.delete(to)
    moveKeys(this.changed, from, to)
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
      if (this.changed.get(at)?.hasNewDirectory === true) await this.settle(at)
    }
  }

  /** All changes of names, or those in one directory and on the way to it. */
  async syncChanges(directory?: string): Promise<void> {
    if (directory === undefined) {
      await Promise.all([...this.changed.keys()].map((changed) => this.settle(changed)))
      return
    }
    await this.settle(directory)
    await this.syncWayTo(directory)
  }

  /** What was noted of the directory is durable when this resolves: an fsync that began after it may be under way already. */
  private settle(directory: string): Promise<void> {
    const change = this.changed.get(directory)
    if (change === undefined) return Promise.resolve()
    const round = this.rounds.get(directory)
    return round?.change === change ? round.done : this.sync(directory)
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
    const done = this.fsync(directory)
    const round: Round = { done, change, next: null }
    this.rounds.set(directory, round)
    const end = (): void => {
      if (round.next === null) this.rounds.delete(directory)
    }
    done.then(() => {
      // Until then, whoever is below has to wait for it.
      if (this.changed.get(directory) === change) this.changed.delete(directory)
      end()
    }, end)
    return done
  }
}

/** What is kept of a path and of those below is kept of another one. */
export function moveKeys<T>(map: Map<string, T>, from: string, to: string): void {
  const below = `${from}/`
  for (const [path, value] of [...map]) {
    if (path !== from && !path.startsWith(below)) continue
    map.delete(path)
    map.set(to + path.slice(from.length), value)
  }
}
