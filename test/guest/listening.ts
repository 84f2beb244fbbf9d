import { readFile } from 'node:fs/promises'
import { setTimeout as delay } from 'node:timers/promises'
import type { ManagedProcess } from './process.js'

/** __SO_ACCEPTCON of linux/net.h, as /proc/net/unix shows it: the socket listens. */
const LISTENING_FLAGS = '00010000'
const POLL_MS = 10

/**
 * Wait until a process listens on the Unix socket `path`. The kernel's own table is read: a trial connection would be
 * taken for a front-end, and the file appears a moment before the socket listens. Throws when the process ends first.
 */
export async function untilListening(path: string, owner: ManagedProcess, deadlineMs: number): Promise<void> {
  const deadline = Date.now() + deadlineMs
  for (;;) {
    const table = await readFile('/proc/net/unix', 'utf8')
    if (table.split('\n').some((line) => line.endsWith(` ${path}`) && line.split(' ')[3] === LISTENING_FLAGS))
      return
    if (owner.hasExited)
      throw new Error(`${await owner.exited} before it listened on ${path}\n${owner.tail()}`)
    if (Date.now() > deadline)
      throw new Error(`${owner.name} does not listen on ${path} after ${deadlineMs} ms\n${owner.tail()}`)
    await delay(POLL_MS)
  }
}
