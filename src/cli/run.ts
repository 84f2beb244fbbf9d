/** Do what the command line asks. Everything heavier than the arguments is loaded only when it is needed. */
import { HELP, parseArguments, UsageError, type Command, type RunArguments } from './arguments.js'
import { packageVersion } from '../observability/package-version.js'
import { EXIT_FAILURE, EXIT_OK, EXIT_USAGE } from './exit-code.js'
import { sharedDirectoryFault } from './shared-directory.js'

/** Of libuv's, those that pass-through mounts leave to the rest of the daemon. */
const RESERVED_THREADS = 1

/** @returns the exit code; a running daemon instead ends the process itself */
export async function run(args: readonly string[]): Promise<number> {
  let command: Command
  try {
    command = parseArguments(args)
  } catch (error) {
    if (!(error instanceof UsageError)) throw error
    process.stderr.write(`ovfsd: ${error.message} (ovfsd --help shows the options)\n`)
    return EXIT_USAGE
  }
  switch (command.kind) {
    case 'help':
      process.stdout.write(HELP)
      return EXIT_OK
    case 'version':
      process.stdout.write(`ovfsd ${packageVersion()}\n`)
      return EXIT_OK
    case 'capabilities':
      process.stdout.write(CAPABILITIES)
      return EXIT_OK
    case 'check':
      return await check(command)
    case 'operate': {
      const { operate } = await import('./operate.js')
      return await operate(command)
    }
    case 'run': {
      return await serve(command, args)
    }
  }
}

async function serve(command: RunArguments, args: readonly string[]): Promise<number> {
  useThreads(command)
  const { SandboxedHost } = await import('./sandbox.js')
  let sandbox
  try {
    sandbox = SandboxedHost.enter(command, args)
  } catch (error) {
    process.stderr.write(`ovfsd: can't start in a sandbox: ${(error as Error).message}\n`)
    return EXIT_FAILURE
  }
  const { runDaemon } = await import('./daemon.js')
  return await runDaemon(command, { sandbox })
}

/** libuv asks for their number when it first uses one. */
function useThreads({ threadPoolSize }: RunArguments): void {
  if (threadPoolSize !== undefined)
    process.env['UV_THREADPOOL_SIZE'] = String(threadPoolSize + RESERVED_THREADS)
}

/** What the vhost-user back-end conventions let a program of type "fs" say; libvirt reads it. */
const CAPABILITIES = `${JSON.stringify({ type: 'fs', features: ['separate-options'] }, undefined, 2)}\n`

async function check({
  configFile,
  connect,
  overrides,
}: RunArguments & { readonly connect: boolean }): Promise<number> {
  const { ConfigError, formatMountPoint, loadSettings } = await import('../config/index.js')
  try {
    const { mounts } = loadSettings(configFile, overrides, { allowPipe: true })
    const fault = sharedDirectoryFault(overrides)
    if (fault !== undefined) {
      process.stderr.write(`ovfsd: ${fault}\n`)
      return EXIT_FAILURE
    }
    if (connect) {
      const { tryMounts } = await import('./connect.js')
      return await tryMounts(mounts)
    }
    const list = mounts.map(
      (mount) => `${mount.name} (${mount.type}) at ${formatMountPoint(mount.mountPoint)}`,
    )
    process.stdout.write(`${configFile ?? 'command line'}: good; mounts ${list.join(', ')}\n`)
    return EXIT_OK
  } catch (error) {
    if (!(error instanceof ConfigError)) throw error
    process.stderr.write(`${error.message}\n`)
    return EXIT_USAGE
  }
}
