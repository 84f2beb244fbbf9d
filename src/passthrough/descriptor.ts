import type { HostCalls } from './host-calls.js'

/** How many descriptors there are, and how many there may be. */
export class DescriptorBudget {
  used = 0

  constructor(readonly limit: number) {}

  hasRoomFor(count: number): boolean {
    return this.used + count <= this.limit
  }
}

/** A file descriptor with one owner. A thread that uses it keeps it open until it is done, whatever the guest closes meanwhile. */
export class Descriptor {
  private users = 0
  private isClosing = false

  constructor(
    private readonly calls: HostCalls,
    private readonly budget: DescriptorBudget,
    readonly fd: number,
  ) {
    budget.used++
  }

  get isInUse(): boolean {
    return this.users > 0
  }

  /** Run `work`, which uses the descriptor until its promise is settled. */
  async use<T>(work: () => Promise<T>): Promise<T> {
    this.users++
    try {
      return await work()
    } finally {
      this.users--
      if (this.isClosing) this.closeNow()
    }
  }

  /** At most once. */
  close(): void {
    this.isClosing = true
    this.closeNow()
  }

  private closeNow(): void {
    if (this.users > 0) return
    this.budget.used--
    this.calls.close(this.fd)
  }
}
