/** Of every empty set: there are three for each block of the cache. Never changed. */
const NONE: number[] = []

/**
 * A set of byte ranges [start, end), kept sorted, disjoint and merged. Almost always it holds none or one, so it is a
 * flat list of numbers: [start0, end0, start1, end1, ...].
 */
export class Ranges {
  private bounds: number[] = NONE

  get isEmpty(): boolean {
    return this.bounds.length === 0
  }

  /** Number of disjoint ranges. */
  get count(): number {
    return this.bounds.length / 2
  }

  startOf(index: number): number {
    return this.bounds[2 * index] as number
  }

  endOf(index: number): number {
    return this.bounds[2 * index + 1] as number
  }

  totalBytes(): number {
    let total = 0
    for (let i = 0; i < this.bounds.length; i += 2) total += this.endOf(i / 2) - this.startOf(i / 2)
    return total
  }

  covers(start: number, end: number): boolean {
    const bounds = this.bounds
    if (start >= end) return true
    if (bounds.length === 2) return (bounds[0] as number) <= start && end <= (bounds[1] as number)
    for (let i = 0; i < bounds.length; i += 2) {
      if ((bounds[i + 1] as number) >= end) return (bounds[i] as number) <= start
    }
    return false
  }

  intersects(start: number, end: number): boolean {
    if (start >= end) return false
    for (let i = 0; i < this.bounds.length; i += 2) {
      if (this.startOf(i / 2) < end && this.endOf(i / 2) > start) return true
    }
    return false
  }

  /** Add [start, end); touching ranges are merged. */
  add(start: number, end: number): void {
    if (start >= end) return
    const bounds = this.bounds
    if (bounds.length === 0) {
      // A list that is pushed to has room for 17 at once.
      this.bounds = [start, end]
      return
    }
    let first = 0
    while (first < bounds.length && (bounds[first + 1] as number) < start) first += 2
    let last = first
    let low = start
    let high = end
    while (last < bounds.length && (bounds[last] as number) <= end) {
      low = Math.min(low, bounds[last] as number)
      high = Math.max(high, bounds[last + 1] as number)
      last += 2
    }
    if (last === first + 2) {
      bounds[first] = low
      bounds[first + 1] = high
    } else {
      bounds.splice(first, last - first, low, high)
    }
  }

  remove(start: number, end: number): void {
    const { bounds } = this
    if (start >= end || bounds.length === 0) return
    if (start <= (bounds[0] as number) && (bounds[bounds.length - 1] as number) <= end) {
      this.bounds = NONE
      return
    }
    const kept: number[] = []
    for (let i = 0; i < bounds.length; i += 2) {
      const low = bounds[i] as number
      const high = bounds[i + 1] as number
      if (low < Math.min(high, start)) kept.push(low, Math.min(high, start))
      if (Math.max(low, end) < high) kept.push(Math.max(low, end), high)
    }
    this.bounds = kept
  }

  addAll(other: Ranges): void {
    for (let i = 0; i < other.count; i++) this.add(other.startOf(i), other.endOf(i))
  }

  clear(): void {
    this.bounds = NONE
  }

  /**
   * Call `visit` for the pieces that [start, end) falls into, in order: those in the set and those in between.
   * `visit` may not change the set.
   */
  forEachPiece(start: number, end: number, visit: (low: number, high: number, inSet: boolean) => void): void {
    let position = start
    for (let i = 0; i < this.bounds.length && position < end; i += 2) {
      const low = Math.max(this.bounds[i] as number, start)
      const high = Math.min(this.bounds[i + 1] as number, end)
      if (high <= low) continue
      if (position < low) visit(position, low, false)
      visit(low, high, true)
      position = high
    }
    if (position < end) visit(position, end, false)
  }
}
