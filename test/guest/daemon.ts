import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises'
import os from 'node:os'
import path from 'node:path'
import { fileURLToPath } from 'node:url'
import { untilListening } from './listening.js'
import { ManagedProcess } from './process.js'

/** One `[profiles.NAME]` of the configuration file; the keys are ovfsd's own and those of the storage. */
export type Profile = Readonly<Record<string, string | number | boolean>> & {
  readonly type: string
  readonly mount_point: string
}

export interface DaemonOptions {
  readonly profiles: Readonly<Record<string, Profile>>
  /** Added to, or in place of, what `[ovfsd_settings]` has in the tests. */
  readonly settings?: Readonly<Record<string, string | number | boolean>>
}

/** A daemon that listens, and the folder that holds its socket and configuration. */
export interface RunningDaemon {
  readonly process: ManagedProcess
  readonly socketPath: string
  readonly configPath: string
  /** Where a profile's files lie on the host, for those of type fs. */
  readonly hostFolder: (profile: string) => string
  /** SIGTERM; resolves with how it ended. Its folder is removed. */
  stop(): Promise<string>
}

const START_DEADLINE_MS = 30_000
/** Debian's virtiofsd, for comparison: `OVFSD_GUEST_DAEMON=virtiofsd` runs the tests that hold for any file system on it. */
const VIRTIOFSD = '/usr/lib/qemu/virtiofsd'
export const isReferenceDaemon = process.env.OVFSD_GUEST_DAEMON === 'virtiofsd'

/** Start ovfsd on a new socket and wait until it listens. */
export async function startDaemon(options: DaemonOptions): Promise<RunningDaemon> {
  const folder = await mkdtemp(path.join(os.tmpdir(), 'ovfsd-daemon-'))
  const socketPath = path.join(folder, 'ovfsd.sock')
  const configPath = path.join(folder, 'ovfsd.toml')
  await writeFile(configPath, toToml(socketPath, options))
  const daemon = isReferenceDaemon
    ? await startVirtiofsd(folder, socketPath, options)
    : startOvfsd(configPath)
  const stop = async (): Promise<string> => {
    const how = await daemon.stop()
    await rm(folder, { recursive: true, force: true })
    return how
  }
  try {
    await untilListening(socketPath, daemon, START_DEADLINE_MS)
  } catch (error) {
    await stop()
    throw error
  }
  const hostFolder = (name: string): string => {
    const profile = options.profiles[name]
    if (isReferenceDaemon) return path.join(folder, 'shared', profile?.mount_point ?? '')
    if (typeof profile?.root !== 'string') throw new Error(`profile ${name} has no folder on the host`)
    return profile.root
  }
  return { process: daemon, socketPath, configPath, hostFolder, stop }
}

function startOvfsd(configPath: string): ManagedProcess {
  // dist/test/guest/ -> dist/src/cli/main.js
  const main = fileURLToPath(new URL('../../src/cli/main.js', import.meta.url))
  const more = (process.env['OVFSD_TEST_OPTIONS'] ?? '').split(' ').filter((option) => option !== '')
  return new ManagedProcess('ovfsd', process.execPath, [main, `--config-file=${configPath}`, ...more])
}

/** One directory stands for all mounts: each mount point is a folder in it, wherever its profile wants its files. */
async function startVirtiofsd(
  folder: string,
  socketPath: string,
  options: DaemonOptions,
): Promise<ManagedProcess> {
  const shared = path.join(folder, 'shared')
  for (const profile of Object.values(options.profiles))
    await mkdir(path.join(shared, profile.mount_point), { recursive: true })
  return new ManagedProcess('virtiofsd', VIRTIOFSD, [
    `--socket-path=${socketPath}`,
    '-o',
    `source=${shared},sandbox=chroot,cache=auto`,
  ])
}

/** TOML's basic strings and JSON's agree on everything that can occur here. */
function toToml(socketPath: string, options: DaemonOptions): string {
  const services = [...new Set(Object.values(options.profiles).map((profile) => profile.type))].join(',')
  const settings = {
    socket_path: socketPath,
    enabled_services: services,
    enabled_cache: true,
    enabled_cache_write_back: false,
    enabled_cache_expiration: true,
    cache_expiration_time: '60s',
    cache_size: '256MiB',
    ...options.settings,
  }
  const table = (name: string, values: Readonly<Record<string, string | number | boolean>>): string =>
    [
      `[${name}]`,
      ...Object.entries(values).map(([key, value]) => `${key} = ${JSON.stringify(value)}`),
      '',
    ].join('\n')
  return [
    table('ovfsd_settings', settings),
    ...Object.entries(options.profiles).map(([name, profile]) => table(`profiles.${name}`, profile)),
  ].join('\n')
}
