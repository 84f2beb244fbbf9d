/** Directories known to have a marker; past this many the knowledge is thrown away, which costs a request each. */
const MAX_KNOWN_MARKERS = 100_000

/**
 * Where directories are prefixes of names: which of them are known to have a marker, an object of their own, so that one
 * need not be made before the last name below such a directory goes.
 */
export class DirectoryMarkers {
  private readonly known = new Set<string>()

  /** `make` gives a directory its marker, unless it has one, and notes it. */
  constructor(private readonly make: (directory: string) => Promise<void>) {}

  has(directory: string): boolean {
    return this.known.has(directory)
  }

  note(directory: string): void {
    if (this.known.size >= MAX_KNOWN_MARKERS) this.known.clear()
    this.known.add(directory)
  }

  forget(directory: string): void {
    this.known.delete(directory)
  }

  /** The directory and all below it go. */
  forgetTree(directory: string): void {
    for (const marker of [...this.known]) {
      if (marker === directory || marker.startsWith(`${directory}/`)) this.known.delete(marker)
    }
  }

  /** The directory that `path` is about to leave stays, even if nothing else is in it. */
  async keepParent(path: string): Promise<void> {
    const parent = path.slice(0, Math.max(0, path.lastIndexOf('/')))
    if (parent !== '' && !this.known.has(parent)) await this.make(parent)
  }
}
