/** A budget that tasks take a share of and give back, first come first served. */
export class Semaphore {
  private free: number
  private readonly queue: { readonly weight: number; readonly resolve: () => void }[] = []

  constructor(private readonly capacity: number) {
    this.free = capacity
  }

  /** Run `work` when `weight` of the capacity is free. A weight above the capacity counts as all of it. */
  async run<T>(weight: number, work: () => Promise<T>): Promise<T> {
    // At once where it can be: what is copied in `work` is of this moment then.
    if (!this.takeNow(weight)) await this.take(weight)
    try {
      return await work()
    } finally {
      this.give(weight)
    }
  }

  /** Resolves when `weight` was free, and is the caller's until `give`. */
  take(weight: number): Promise<void> {
    if (this.takeNow(weight)) return Promise.resolve()
    return new Promise<void>((resolve) => {
      this.queue.push({ weight: Math.min(weight, this.capacity), resolve })
    })
  }

  private takeNow(weight: number): boolean {
    const share = Math.min(weight, this.capacity)
    if (this.queue.length > 0 || this.free < share) return false
    this.free -= share
    return true
  }

  give(weight: number): void {
    this.free += Math.min(weight, this.capacity)
    this.admit()
  }

  private admit(): void {
    for (let first = this.queue[0]; first !== undefined && first.weight <= this.free; first = this.queue[0]) {
      this.queue.shift()
      this.free -= first.weight
      first.resolve()
    }
  }
}
