import { mkdirSync, mkdtempSync, readdirSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { isRunning, ownIdentity } from './process-id.js'

const PREFIX = 'ovfsd-server-'
const NAME_PATTERN = /^ovfsd-server-\w+-(\d+)-(\d+)-/

const directories = new Set<string>()

process.on('exit', () => {
  // The servers are still dying and may write once more; what is left then goes with the next sweep.
  for (const directory of directories) remove(directory)
})

/** A server's own directory: data, configuration and logs. */
export interface StateDirectory {
  readonly path: string
  remove(): void
}

/**
 * A fresh directory, named after this process. Those of processes that died without removing theirs are swept away.
 *
 * @param kind short name of the server, letters only
 * @param subdirectories made in it
 */
export function createStateDirectory(kind: string, subdirectories: readonly string[]): StateDirectory {
  sweep()
  const { pid, startTime } = ownIdentity()
  const directory = mkdtempSync(path.join(tmpdir(), `${PREFIX}${kind}-${pid}-${startTime}-`))
  directories.add(directory)
  for (const name of subdirectories) mkdirSync(path.join(directory, name), { recursive: true })
  return {
    path: directory,
    remove: () => {
      directories.delete(directory)
      remove(directory)
    },
  }
}

function sweep(): void {
  for (const name of readdirSync(tmpdir())) {
    const [, pid, startTime] = NAME_PATTERN.exec(name) ?? []
    if (pid === undefined || startTime === undefined) continue
    if (!isRunning({ pid: Number(pid), startTime })) remove(path.join(tmpdir(), name))
  }
}

function remove(directory: string): void {
  try {
    rmSync(directory, { recursive: true, force: true })
  } catch {
    // Another process sweeps too, or a server still writes: the next sweep gets the rest.
  }
}
