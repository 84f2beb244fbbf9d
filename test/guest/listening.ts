import { readFile } from 'node:fs/promises'
import { setTimeout as delay } from 'node:timers/promises'
import type { ManagedProcess } from './process.js'

/** __SO_ACCEPTCON of linux/net.h, as /proc/net/unix shows it: the socket listens. */
const LISTENING_FLAGS = '00010000'
const POLL_MS = 10

/** The process, and those that it has started: a daemon in a sandbox listens in a network namespace of its own. */
async function familyOf(pid: number): Promise<number[]> {
  const children = await readFile(`/proc/${pid}/task/${pid}/children`, 'utf8').catch(() => '')
  const numbers = children.split(' ').filter((text) => text !== '')
  const families = await Promise.all(numbers.map((text) => familyOf(Number(text))))
  return [pid, ...families.flat()]
}

async function listensOn(path: string, { pid }: ManagedProcess): Promise<boolean> {
  const processes = pid === undefined ? [] : await familyOf(pid)
  const tables = await Promise.all(
    ['self', ...processes].map((process) => readFile(`/proc/${process}/net/unix`, 'utf8').catch(() => '')),
  )
  return tables.some((table) =>
    table.split('\n').some((line) => line.endsWith(` ${path}`) && line.split(' ')[3] === LISTENING_FLAGS),
  )
}

/**
 * Wait until a process listens on the Unix socket `path`. The kernel's own table is read: a trial connection would be
 * taken for a front-end, and the file appears a moment before the socket listens. Throws when the process ends first.
 */
export async function untilListening(path: string, owner: ManagedProcess, deadlineMs: number): Promise<void> {
  const deadline = Date.now() + deadlineMs
  for (;;) {
    if (await listensOn(path, owner)) return
    if (owner.hasExited)
      throw new Error(`${await owner.exited} before it listened on ${path}\n${owner.tail()}`)
    if (Date.now() > deadline)
      throw new Error(`${owner.name} does not listen on ${path} after ${deadlineMs} ms\n${owner.tail()}`)
    await delay(POLL_MS)
  }
}
