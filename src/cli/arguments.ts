/** The command line: what was asked for, or one line on what is wrong with it. Loads nothing heavy, so --help is instant. */
import { resolve } from 'node:path'
import { parseArgs } from 'node:util'
import type { Overrides } from '../config/index.js'
import { ACCESS_LISTS_HOLD_IDS } from '../config/host-rules.js'
import { didYouMean } from '../config/suggestion.js'
import { ValueError } from '../config/problem.js'
import { ACTION_NAMES, isAction, parseOperate, type OperateCommand } from './operate-arguments.js'
import type { IdRange } from './id-map.js'
import type { Sandbox } from './launcher.js'
import { UsageError } from './usage-error.js'
import {
  applyList,
  applyOption,
  LONG_OPTIONS,
  sharedDirectoryOf,
  type Parsed,
  type VirtiofsdArguments,
} from './virtiofsd-options.js'

export { UsageError } from './usage-error.js'

export type Command =
  | { readonly kind: 'help' }
  | { readonly kind: 'version' }
  | { readonly kind: 'capabilities' }
  | ({ readonly kind: 'check'; readonly connect: boolean } & RunArguments)
  | ({ readonly kind: 'run' } & RunArguments)
  | OperateCommand

export interface RunArguments {
  /** Absent: the command line says all. */
  readonly configFile?: string
  /** What comes before the file's values, or in their place. */
  readonly overrides: Overrides
  /** Listen on this descriptor, which the parent process opened. */
  readonly socketFd?: number
  /** The socket's group, name or number. */
  readonly socketGroup?: string
  /** Log there and not to standard error. */
  readonly syslog?: true
  /** The most descriptors to have open; 0 leaves the limit as it is. */
  readonly rlimitNofile?: number
  /** Absent: as is the default. */
  readonly sandbox?: Sandbox
  /** "+NAME:-NAME": capabilities beside, or less than, those that the sandbox leaves. */
  readonly modcaps?: string
  /** Users and groups of the sandbox's user namespace, where root has not started the daemon. Absent: whoever has, and nobody else. */
  readonly uidMap?: readonly IdRange[]
  readonly gidMap?: readonly IdRange[]
  /** What becomes of a system call that no daemon makes. Absent: as is the default. */
  readonly seccomp?: 'kill' | 'log' | 'trap' | 'none'
  /** Threads for what waits on the host. Absent: as is the default. */
  readonly threadPoolSize?: number
  /** Sentences on options that have no effect, for the log. */
  readonly remarks: readonly string[]
}

const OWN_OPTIONS = {
  'config-file': { type: 'string' },
  check: { type: 'boolean' },
  connect: { type: 'boolean' },
  'print-capabilities': { type: 'boolean' },
  help: { type: 'boolean', short: 'h' },
  version: { type: 'boolean', short: 'V' },
} as const

/** virtiofsd's, by one letter. */
const LIST = 'o'
const SHORT_OPTIONS = {
  [LIST]: { type: 'string', short: LIST, multiple: true },
  d: { type: 'boolean', short: 'd' },
  f: { type: 'boolean', short: 'f' },
} as const

const OPTIONS = {
  ...Object.fromEntries(
    [...LONG_OPTIONS].map(([name, takes]) => {
      const type: 'string' | 'boolean' = takes === 'value' ? 'string' : 'boolean'
      return [name, { type }]
    }),
  ),
  ...OWN_OPTIONS,
  ...SHORT_OPTIONS,
} as const

const OPTION_NAMES = [...LONG_OPTIONS.keys(), ...Object.keys(OWN_OPTIONS)].map((name) => `--${name}`)

export const HELP = `Usage: ovfsd --config-file=FILE [OPTION]...
       ovfsd --shared-dir=DIR (--socket-path=PATH | --fd=N) [OPTION]...
       ovfsd COMMAND [OPTION]...
Serve object stores, file stores and directories to a virtual machine as a
virtio-fs device.

  --config-file=FILE   the configuration, in TOML (see ovfsd.example.toml)
  --check              check the configuration and exit
  --connect            with --check: try to reach each mount's storage, too
  --socket-path=PATH   listen here, instead of at the file's socket_path
  --log-level=LEVEL    silent, fatal, error, warn, info, debug or trace,
                       instead of the file's log_level
  -h, --help           show this help and exit
  -V, --version        show the version and exit

As virtiofsd, also together with a configuration, whose mounts then lie in the
shared directory:
  --shared-dir=DIR     a directory of the host, as the root of the guest's
                       file system
  --fd=N               listen on this descriptor, a listening Unix socket
  --socket-group=NAME  let this group connect, too
  --cache=POLICY       what the guest keeps of DIR: auto, always, never
  --xattr              let the guest use extended attributes in DIR
  --allow-direct-io    open files of DIR with O_DIRECT where the guest does
  --readonly           let the guest change nothing, in any mount
  --writeback          let the guest's kernel collect writes
  --rlimit-nofile=N    the most open files; 0: as it is
  --syslog             log to syslog
  --print-capabilities print what libvirt asks for, and exit
  -o OPTION[,...]      the same as virtiofsd in C has them: source=DIR,
                       cache=POLICY, xattr, writeback, ...
  -d                   as --log-level=debug
virtiofsd's other options are accepted; the log says why they have no effect.
Without --config-file the daemon ends when the hypervisor disconnects.

Commands for a running daemon (ovfsd COMMAND --help says more):
  status, mounts       what it is, and how its mounts are
  stats, top           rates, as they change
  flush, invalidate    store what is dirty; forget what is cached
  trace, profile       requests as they come; where their time goes
  log-level            change what is logged

SIGTERM and SIGINT write back what is dirty, then end the daemon; a second one
ends it at once and loses what is not yet written. SIGHUP loads the
configuration again, as does saving it.

Exit status: 0 ended as asked, 1 could not start, not write everything back or
not reach all storage (--check --connect), 2 wrong command line or
configuration, 70 internal error.
`

/**
 * @param args without the interpreter and the script
 * @throws UsageError
 */
export function parseArguments(args: readonly string[]): Command {
  const [first] = args
  if (first !== undefined && isAction(first)) return parseOperate(first, args.slice(1))
  const { values, tokens } = parseArgs({
    args: [...args],
    options: OPTIONS,
    strict: false,
    allowPositionals: true,
    tokens: true,
  })
  const own: Readonly<Record<string, unknown>> = values
  // --help beside a mistake should help.
  if (own['help'] === true) return { kind: 'help' }
  const parsed: Parsed = { asked: {}, remarks: new Map() }
  for (const token of tokens) {
    if (token.kind === 'positional')
      throw new UsageError(
        `unexpected argument ${JSON.stringify(token.value)}${didYouMean(token.value, ACTION_NAMES)}`,
      )
    if (token.kind === 'option') takeOption(parsed, token.name, token.rawName, token.value)
  }
  if (own['version'] === true) return { kind: 'version' }
  if (own['print-capabilities'] === true) return { kind: 'capabilities' }
  const connect = own['connect'] === true
  if (connect && own['check'] !== true) throw new UsageError('--connect is for use with --check')
  const configFile = typeof own['config-file'] === 'string' ? own['config-file'] : undefined
  return {
    ...(own['check'] === true ? { kind: 'check', connect } : { kind: 'run' }),
    ...(configFile === undefined ? {} : { configFile }),
    ...runArguments(parsed, configFile !== undefined),
  }
}

function takeOption(parsed: Parsed, name: string, rawName: string, value: string | undefined): void {
  const takes = takesOf(name, rawName)
  if (takes === undefined) {
    throw new UsageError(`unknown option ${JSON.stringify(rawName)}${didYouMean(rawName, OPTION_NAMES)}`)
  }
  if (takes === 'value' && (value === undefined || value === '')) {
    throw new UsageError(`${rawName} needs a value: ${rawName}${rawName.startsWith('--') ? '=' : ' '}...`)
  }
  if (takes === 'nothing' && value !== undefined) throw new UsageError(`${rawName} takes no value`)
  try {
    if (name === LIST) applyList(parsed, value ?? '')
    // -f asks for the foreground, where the daemon is.
    else if (name === 'd') parsed.asked.logLevel = 'debug'
    else applyOption(parsed, name, value)
  } catch (error) {
    if (error instanceof ValueError) throw new UsageError(`${rawName}: ${error.message}`)
    throw error
  }
}

/** Undefined for an option that there is not. */
function takesOf(name: string, rawName: string): 'nothing' | 'value' | 'optional value' | undefined {
  const isShort = Object.hasOwn(SHORT_OPTIONS, name)
  if (isShort && rawName !== `-${name}`) return undefined
  if (isShort || Object.hasOwn(OWN_OPTIONS, name)) {
    const { type } = { ...OWN_OPTIONS, ...SHORT_OPTIONS }[name as 'd']
    return (type as string) === 'string' ? 'value' : 'nothing'
  }
  return LONG_OPTIONS.get(name)
}

function runArguments({ asked, remarks }: Parsed, hasFile: boolean): RunArguments {
  const { socketPath, socketFd, socketGroup, logLevel, rlimitNofile, sharedDir, sandbox, modcaps, seccomp } =
    asked
  const { uidMap, gidMap } = asked
  if (sandbox !== undefined && sandbox !== 'namespace' && (uidMap ?? gidMap) !== undefined)
    throw new UsageError('--uid-map and --gid-map need --sandbox=namespace')
  if (!hasFile && sharedDir === undefined)
    throw new UsageError('--config-file=FILE is missing, or --shared-dir=DIR')
  if (!hasFile && socketPath === undefined && socketFd === undefined)
    throw new UsageError('--socket-path=PATH is missing, or --fd=N')
  if (socketFd !== undefined && socketPath !== undefined)
    throw new UsageError('--fd and --socket-path exclude each other')
  const translates = asked.translateUid ?? asked.translateGid
  if (translates !== undefined && asked.posixAcl === true)
    throw new UsageError(`--translate-uid and --translate-gid exclude --posix-acl: ${ACCESS_LISTS_HOLD_IDS}`)
  if (socketFd !== undefined && socketGroup !== undefined)
    throw new UsageError('--fd and --socket-group exclude each other: the socket is there already')
  return {
    overrides: {
      ...(socketPath === undefined ? {} : { socketPath }),
      ...(socketFd === undefined ? {} : { socketInherited: true }),
      ...(socketGroup === undefined ? {} : { socketMode: GROUP_SOCKET_MODE }),
      ...(logLevel === undefined ? {} : { logLevel }),
      ...(asked.writeback === true ? { guestWriteback: true } : {}),
      ...(asked.readOnly === true ? { readOnly: true } : {}),
      ...(sharedDir === undefined
        ? {}
        : { sharedDirectory: { root: resolve(sharedDir), ...sharedDirectoryOf(asked) } }),
    },
    ...(socketFd === undefined ? {} : { socketFd }),
    ...(socketGroup === undefined ? {} : { socketGroup }),
    ...(asked.syslog === true ? { syslog: true } : {}),
    ...(rlimitNofile === undefined ? {} : { rlimitNofile }),
    ...((asked.threadPoolSize ?? 0) === 0 ? {} : { threadPoolSize: asked.threadPoolSize ?? 0 }),
    ...(sandbox === undefined ? {} : { sandbox }),
    ...(seccomp === undefined ? {} : { seccomp }),
    ...(modcaps === undefined ? {} : { modcaps }),
    ...(uidMap === undefined ? {} : { uidMap }),
    ...(gidMap === undefined ? {} : { gidMap }),
    remarks: [...remarks.values(), ...remarksOnMissingDirectory(asked)],
  }
}

/** As virtiofsd's with --socket-group. */
const GROUP_SOCKET_MODE = 0o770

function remarksOnMissingDirectory(asked: VirtiofsdArguments): string[] {
  if (asked.sharedDir !== undefined) return []
  // What is on the disk would have other owners or names than were asked for.
  for (const [name, rules] of [
    ['--xattrmap', asked.xattrmap],
    ['--translate-uid', asked.translateUid],
    ['--translate-gid', asked.translateGid],
  ] as const)
    if (rules !== undefined) throw new UsageError(`${name} is about --shared-dir, which is not given`)
  const given = [
    asked.guestCache !== undefined && '--cache',
    asked.xattr === true && '--xattr',
    asked.directIo === true && '--allow-direct-io',
    asked.announceSubmounts === true && '--announce-submounts',
    asked.posixAcl === true && '--posix-acl',
    asked.securityLabel === true && '--security-label',
    asked.killprivV2 === true && '--killpriv-v2',
    asked.allowMmap === true && '--allow-mmap',
    asked.readdirplus === false && '--no-readdirplus',
    asked.preserveNoatime === true && '--preserve-noatime',
  ].filter((name) => name !== false)
  return given.map((name) => `${name} has no effect: it is about --shared-dir, which is not given`)
}
