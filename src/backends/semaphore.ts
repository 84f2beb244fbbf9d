/** A budget that tasks take a share of and give back, first come first served. */
export class Semaphore {
  private free: number
  private readonly queue: { readonly weight: number; readonly resolve: () => void }[] = []

  constructor(private readonly capacity: number) {
    this.free = capacity
  }

  /** Run `work` when `weight` of the capacity is free. A weight above the capacity counts as all of it. */
  async run<T>(weight: number, work: () => Promise<T>): Promise<T> {
    const share = Math.min(weight, this.capacity)
    if (this.queue.length > 0 || this.free < share) {
      await new Promise<void>((resolve) => this.queue.push({ weight: share, resolve }))
    } else {
      this.free -= share
    }
    try {
      return await work()
    } finally {
      this.free += share
      this.admit()
    }
  }

  private admit(): void {
    for (let first = this.queue[0]; first !== undefined && first.weight <= this.free; first = this.queue[0]) {
      this.queue.shift()
      this.free -= first.weight
      first.resolve()
    }
  }
}
