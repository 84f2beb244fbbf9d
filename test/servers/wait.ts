import { setTimeout as delay } from 'node:timers/promises'

const POLL_MS = 20

/**
 * Ask again and again until `isReady` gives true. Whatever it throws counts as "not yet" and is told in the end.
 *
 * @param what said in the message: "radosgw answers"
 * @param giveUp asked each time: a reason why waiting is in vain, or null
 */
export async function waitUntil(
  what: string,
  deadlineMs: number,
  isReady: () => Promise<boolean> | boolean,
  giveUp: () => string | null = () => null,
): Promise<void> {
  const deadline = performance.now() + deadlineMs
  let lastError = ''
  for (;;) {
    try {
      if (await isReady()) return
    } catch (error) {
      lastError = `\nthe last try: ${String(error)}`
    }
    const reason = giveUp()
    if (reason !== null) throw new Error(`${what}: not to be expected any more, ${reason}`)
    if (performance.now() > deadline) throw new Error(`${what}: not within ${deadlineMs} ms${lastError}`)
    await delay(POLL_MS)
  }
}
