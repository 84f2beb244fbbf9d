/** What virtiofsd's options ask of the process itself. The addon is loaded only for this. */
import type { Logger } from '../observability/logger.js'
import { SyslogStream } from '../observability/syslog-stream.js'
import type { RunArguments } from './arguments.js'

/** Where every syslog daemon of Linux listens. */
const SYSLOG_SOCKET = '/dev/log'

/** The log's stream where the command line asks for syslog; {} (standard error) elsewhere, and where there is no syslog. */
export async function syslogOf({ syslog }: RunArguments): Promise<{ readonly stream?: SyslogStream }> {
  if (syslog !== true) return {}
  const native = await addon()
  try {
    return { stream: new SyslogStream(() => native.connectDatagram(SYSLOG_SOCKET)) }
  } catch (error) {
    process.stderr.write(`ovfsd: can't log to syslog, so to standard error: ${(error as Error).message}\n`)
    return {}
  }
}

/** `limit` = 0 leaves it as it is. A limit that is refused is no reason not to start. */
export async function limitOpenFiles(limit: number, logger: Logger): Promise<void> {
  if (limit === 0) return
  const native = await addon()
  try {
    native.limitOpenFiles(limit)
  } catch (error) {
    logger.warn({ err: error, limit }, 'the limit of open files (--rlimit-nofile) stays as it is')
  }
}

/**
 * Groups of whoever started a daemon that runs as root are not the guest's: the kernel would leave the set-group-ID bit on what a
 * guest's user makes in a directory of one of them (CVE-2022-0358). Root needs none of them itself.
 */
export function dropSupplementaryGroups(logger: Logger): void {
  if (process.geteuid?.() !== 0 || process.getgroups?.().length === 0) return
  try {
    process.setgroups?.([])
  } catch (error) {
    // In a user namespace that may not change them.
    logger.warn({ err: error, groups: process.getgroups?.() }, 'the supplementary groups stay as they are')
  }
}

async function addon() {
  const { loadNative } = await import('../virtio/native.js')
  return loadNative()
}
