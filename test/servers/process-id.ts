import { readFileSync } from 'node:fs'

/** Fields of /proc/PID/stat after the name in brackets, which may itself hold brackets and spaces. */
const STATE_FIELD = 0
const START_TIME_FIELD = 19

/** A process for ever: its id alone may be given to another one after its end. */
export interface ProcessIdentity {
  readonly pid: number
  /** Clock ticks from boot to its start, as /proc shows them. */
  readonly startTime: string
}

/** The process that has this id now; null if there is none, or only its remains (a zombie). */
export function identityOf(pid: number): ProcessIdentity | null {
  let stat: string
  try {
    stat = readFileSync(`/proc/${pid}/stat`, 'utf8')
  } catch {
    return null
  }
  const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ')
  const startTime = fields[START_TIME_FIELD]
  return fields[STATE_FIELD] === 'Z' || startTime === undefined ? null : { pid, startTime }
}

export function isRunning(identity: ProcessIdentity): boolean {
  return identityOf(identity.pid)?.startTime === identity.startTime
}

/** The process of this very program. */
export function ownIdentity(): ProcessIdentity {
  const identity = identityOf(process.pid)
  if (identity === null) throw new Error('/proc does not show this process')
  return identity
}
