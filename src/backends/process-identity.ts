/** Which process of which machine: whether one that left something behind can still be using it. */
import { readFileSync, readlinkSync } from 'node:fs'

/** The field of /proc/PID/stat that tells when the process began, counted from the one behind the program's name. */
const START_TIME_FIELD = 19

export interface ProcessIdentity {
  /** Of the machine, new at each boot. */
  readonly bootId: string
  /** Process ids count in it only. */
  readonly pidNamespace: string
  readonly pid: number
  /** Clock ticks since the boot; '' where it can't be told. Ids are used again. */
  readonly startTime: string
}

/** Who sees the processes of the host, where this one is in a pid namespace of its own. */
export interface ProcessTable {
  identity(bootId: string): ProcessIdentity
  isGone(process: ProcessIdentity): boolean
}

let table: ProcessTable | null = null

export function useProcessTable(used: ProcessTable): void {
  table = used
}

export function ownIdentity(): ProcessIdentity {
  if (table !== null) return table.identity(hereAndNow().bootId)
  return { ...hereAndNow(), pid: process.pid, startTime: startTimeOf(process.pid) ?? '' }
}

/** What was written by `ownIdentity` somewhere; null of anything else. */
export function parseIdentity(value: unknown): ProcessIdentity | null {
  if (typeof value !== 'object' || value === null) return null
  const { bootId, pidNamespace, pid, startTime } = value as Partial<Record<keyof ProcessIdentity, unknown>>
  if (typeof bootId !== 'string' || typeof pidNamespace !== 'string') return null
  if (typeof startTime !== 'string' || !Number.isSafeInteger(pid) || Number(pid) <= 0) return null
  return { bootId, pidNamespace, pid: Number(pid), startTime }
}

/** Known for certain: false also where the process can't be seen from here. */
export function isGone(identity: ProcessIdentity): boolean {
  const { bootId, pidNamespace, pid, startTime } = identity
  const here = hereAndNow()
  if (table !== null) return bootId !== '' && bootId === here.bootId && table.isGone(identity)
  if (bootId === '' || bootId !== here.bootId || pidNamespace !== here.pidNamespace) return false
  try {
    process.kill(pid, 0)
  } catch (error) {
    // EPERM: another user's.
    if ((error as NodeJS.ErrnoException).code === 'ESRCH') return true
  }
  const startedThere = startTimeOf(pid)
  return startTime !== '' && startedThere !== null && startedThere !== startTime
}

export function isSameProcess(one: ProcessIdentity, other: ProcessIdentity): boolean {
  return (
    one.bootId === other.bootId &&
    one.pidNamespace === other.pidNamespace &&
    one.pid === other.pid &&
    one.startTime === other.startTime
  )
}

function hereAndNow(): { readonly bootId: string; readonly pidNamespace: string } {
  try {
    const bootId = readFileSync('/proc/sys/kernel/random/boot_id', 'utf8').trim()
    return { bootId, pidNamespace: readlinkSync('/proc/self/ns/pid') }
  } catch {
    return { bootId: '', pidNamespace: '' }
  }
}

function startTimeOf(pid: number): string | null {
  try {
    const stat = readFileSync(`/proc/${pid}/stat`, 'latin1')
    return stat.slice(stat.lastIndexOf(')') + 2).split(' ')[START_TIME_FIELD] ?? null
  } catch {
    return null
  }
}
