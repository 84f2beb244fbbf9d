/** A host that throttles its writers does so for each of their writes, up to 200 ms a time. */
const PAUSE_MS = 1000

/**
 * Small writes to file systems that can't tell whether a write would wait (ext4): they are tried on the loop, which spares each a
 * thread, until one has waited for the disk. Then all go through threads for a while.
 */
export class BlindWrites {
  private resumeMs = 0

  constructor(private readonly nowMs: () => number = () => performance.now()) {}

  mayTry(): boolean {
    return this.nowMs() >= this.resumeMs
  }

  /** One has waited. */
  pause(): void {
    this.resumeMs = this.nowMs() + PAUSE_MS
  }
}
