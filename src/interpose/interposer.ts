/** What stands between a mount's requests and their handling, to make storage slow, throttled or faulty on purpose. */
export interface InterposedRequest {
  /** See observability/operations.ts. */
  readonly operation: string
  /** In the mount, without a leading "/"; put together only when a rule asks for it. */
  path(): string
  /** Bytes that a READ or WRITE asks for; 0 for others. */
  readonly sizeBytes: number
}

export interface Verdict {
  /** The errno, positive, that the request fails with; 0: it is handled. Never ENOSYS, after which a kernel does not ask again. */
  readonly errno: number
  /** A READ or WRITE does this much, at most what it asks for. */
  readonly sizeBytes: number
  /** Settles when the request may go on; null: at once. Never rejects. */
  readonly wait: Promise<void> | null
}

export interface Interposer {
  /** Called once for each request, in the order in which they come. null: nothing is done to it. */
  decide(request: InterposedRequest): Verdict | null
  /** A READ or WRITE for which `sizeBytes` had been asked has moved fewer bytes: the rest was not used. */
  giveBack(operation: string, unusedBytes: number): void
  /** Whoever waits goes on at once: its session is over. */
  release(): void
  /** Whoever waits goes on at once; from now on nothing is decided any more. */
  end(): void
}
