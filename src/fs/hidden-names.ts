/**
 * What hidden files are called. A name says which process has it in use, so that a later daemon knows which of those it finds are
 * nobody's any more: they have no name of their own, as those that a rename replaces keep theirs until they are replaced.
 */
import { isGone, ownIdentity } from '../backends/process-identity.js'

const PREFIX = 'unlinked'
/** unlinked-BOOT.NAMESPACE.PID.START-TIME.MOUNT-NUMBER */
const PATTERN = /^unlinked-([0-9a-f-]+)\.(\d+)\.(\d+)\.(\d*)-[0-9a-z]+\.\d+-\d+$/

/** Mounts made so far: two of one store may be made within one millisecond. */
let mountCount = 0

/** Names of one mount's hidden files; no two mounts, of this process or of others, have the same. */
export class HiddenNames {
  private readonly prefix: string
  private next = 1

  constructor() {
    const { bootId, pidNamespace, pid, startTime } = ownIdentity()
    const namespace = /\d+/.exec(pidNamespace)?.[0] ?? '0'
    const owner = `${bootId === '' ? '0' : bootId}.${namespace}.${pid}.${startTime}`
    this.prefix = `${PREFIX}-${owner}-${Date.now().toString(36)}.${++mountCount}-`
  }

  take(): string {
    return `${this.prefix}${this.next++}`
  }
}

/** The process that has hidden a file by this name is gone for certain. */
export function isAbandoned(name: string): boolean {
  const [, bootId, namespace, pid, startTime] = PATTERN.exec(name) ?? []
  if (bootId === undefined || namespace === undefined || pid === undefined) return false
  return isGone({
    bootId,
    pidNamespace: `pid:[${namespace}]`,
    pid: Number(pid),
    startTime: startTime ?? '',
  })
}
