/** Directories whose count is kept; past this many all start anew. */
const MAX_DIRECTORIES = 10_000

/** `example`: one of them, as its key has it. */
export type UnlistableListener = (directory: string, count: number, example: string) => void

/** Names that listings have left out, since no file can have them: empty ones, "." and "..", those that are too long. */
export class UnlistableNames {
  private readonly countOf = new Map<string, number>()
  /** Told of each directory once. */
  listener: UnlistableListener = () => undefined

  /** The last listing of `directory` left out this many. */
  note(directory: string, count: number, example: string): void {
    if (count === 0) {
      this.countOf.delete(directory)
      return
    }
    if (this.countOf.size >= MAX_DIRECTORIES) this.countOf.clear()
    const isNew = !this.countOf.has(directory)
    this.countOf.set(directory, count)
    if (isNew) this.listener(directory, count, example)
  }

  /** In all directories that have been listed. */
  get total(): number {
    let sum = 0
    for (const count of this.countOf.values()) sum += count
    return sum
  }
}
