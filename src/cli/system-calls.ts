/** The filter of system calls (seccomp) that the daemon puts over itself once it listens. */
import type { Settings } from '../config/index.js'
import { loadNative } from '../virtio/native.js'
import type { RunArguments } from './arguments.js'
import { LOCAL_TYPES } from './local-types.js'
import { PASSTHROUGH_TYPE } from '../fs/mount.js'

export type Sockets = 'none' | 'unix' | 'all'

const ORDER: readonly Sockets[] = ['none', 'unix', 'all']

/** What sockets the settings need beside those that are open when the daemon listens. */
export function socketsFor({ settings, mounts, tracing }: Settings, { syslog }: RunArguments): Sockets {
  const { metricsAddress, controlSocket, cacheDir } = settings
  const isLocal = mounts.every(({ type }) => LOCAL_TYPES.has(type))
  if (!isLocal || tracing !== null || (metricsAddress !== null && 'port' in metricsAddress)) return 'all'
  // A syslog daemon that was started anew is connected to again; a reload may open the others.
  const isUnix = syslog === true || metricsAddress !== null || controlSocket !== null || cacheDir !== null
  return isUnix ? 'unix' : 'none'
}

/** Whether files of the host may have to be opened by handles: any pass-through mount may, unless it says that it does not. */
function opensHandles({ mounts }: Settings): boolean {
  return mounts.some(
    ({ type, options }) => type === PASSTHROUGH_TYPE && options['inode_file_handles'] !== 'never',
  )
}

/** The filter that is on; a reload has to do with it. */
export class SystemCallFilter {
  private constructor(
    private readonly sockets: Sockets,
    private readonly fileHandles: boolean,
    readonly denied: 'kill' | 'log' | 'trap',
  ) {}

  /** null: the command line asks for none, or for no sandbox either. @throws Error when the kernel has none */
  static install(settings: Settings, args: RunArguments, isSandboxed: boolean): SystemCallFilter | null {
    const { seccomp = isSandboxed ? 'kill' : 'none' } = args
    if (seccomp === 'none') return null
    const sockets = socketsFor(settings, args)
    const fileHandles = opensHandles(settings)
    loadNative().filterSystemCalls(seccomp, sockets, fileHandles)
    return new SystemCallFilter(sockets, fileHandles, seccomp)
  }

  /** What settings that come later need and the filter denies; null: nothing. */
  missing(settings: Settings, args: RunArguments): string | null {
    const needed = socketsFor(settings, args)
    const made = 'the filter of system calls (--seccomp) was made for a daemon without'
    if (ORDER.indexOf(needed) > ORDER.indexOf(this.sockets))
      return `${made} servers or sockets of these kinds: that needs a restart`
    if (opensHandles(settings) && !this.fileHandles)
      return `${made} file handles: inode_file_handles = "never", or a restart`
    return null
  }
}
