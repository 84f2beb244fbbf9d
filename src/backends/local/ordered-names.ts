/** Fewer holes are left where they are. */
const MIN_HOLES = 1024

/** Names in the order of their coming, from any of which a listing goes on while others come and go. */
export class OrderedNames {
  private readonly numberOf = new Map<string, number>()
  /** Side by side: numbers in their order, and the names that have them; null where one has gone. */
  private numbers: number[] = []
  private names: (string | null)[] = []
  private last = 0

  get size(): number {
    return this.numberOf.size
  }

  add(name: string): void {
    if (this.numberOf.has(name)) return
    this.numberOf.set(name, ++this.last)
    this.numbers.push(this.last)
    this.names.push(name)
  }

  delete(name: string): void {
    const number = this.numberOf.get(name)
    if (number === undefined) return
    this.numberOf.delete(name)
    this.names[this.placeOf(number)] = null
    const holes = this.names.length - this.numberOf.size
    if (holes > MIN_HOLES && holes > this.numberOf.size) this.closeHoles()
  }

  /** Up to `count` names behind the one with the number `after`, and the last one's number; null where no more follow. */
  behind(after: number, count: number): { readonly names: string[]; readonly last: number | null } {
    const found: string[] = []
    for (let place = this.placeOf(after + 1); place < this.names.length; place++) {
      const name = this.names[place]
      if (name == null) continue
      if (found.length === count) return { names: found, last: (this.numbers[place] ?? 0) - 1 }
      found.push(name)
    }
    return { names: found, last: null }
  }

  /** Of the first number that is not less. */
  private placeOf(number: number): number {
    let [low, high] = [0, this.numbers.length]
    while (low < high) {
      const middle = (low + high) >>> 1
      if ((this.numbers[middle] ?? 0) < number) low = middle + 1
      else high = middle
    }
    return low
  }

  private closeHoles(): void {
    this.numbers = this.numbers.filter((_, place) => this.names[place] !== null)
    this.names = this.names.filter((name) => name !== null)
  }
}
