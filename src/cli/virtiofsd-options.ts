/**
 * The options of virtiofsd, so that whatever starts virtiofsd can start ovfsd in its place: those of the Rust daemon
 * (`--shared-dir DIR --cache auto`) and of the C daemon before it (`-o source=DIR,cache=auto`).
 *
 * An option that has an effect says here which. One that has none says why in a sentence, which the daemon logs. One whose
 * silent loss would put data under the wrong owner or name is refused.
 */
import { listChoices, quote, ValueError } from '../config/problem.js'
import { parseLogLevel, parseSocketPath } from '../config/values.js'
import type { GuestCache, SharedDirectory } from '../config/index.js'
import type { LogLevel } from '../observability/levels.js'
import { parseIdRange, type IdRange } from './id-map.js'
import type { Sandbox } from './launcher.js'
import { didYouMean } from '../config/suggestion.js'

/** What virtiofsd's options ask for; absent = not given. */
export interface VirtiofsdArguments {
  /** As written: relative to the working directory. */
  sharedDir?: string
  socketPath?: string
  /** A listening socket that the parent process opened. */
  socketFd?: number
  /** Name or number. */
  socketGroup?: string
  logLevel?: LogLevel
  syslog?: boolean
  /** 0 leaves the limit as it is. */
  rlimitNofile?: number
  readOnly?: boolean
  writeback?: boolean
  guestCache?: GuestCache
  xattr?: boolean
  directIo?: boolean
  announceSubmounts?: boolean
  sandbox?: Sandbox
  modcaps?: string
  /** Absent: as without. */
  uidMap?: readonly IdRange[]
  gidMap?: readonly IdRange[]
  seccomp?: (typeof SECCOMP_ACTIONS)[number]
}

/** An option that was accepted and does nothing. */
export interface Remark {
  readonly option: string
  /** One sentence on why. */
  readonly why: string
}

export interface Parsed {
  readonly asked: VirtiofsdArguments
  /** By the option's name: one sentence each, however often it was given. */
  readonly remarks: Map<string, string>
}

interface Option {
  readonly takes: 'nothing' | 'value' | 'optional value'
  /** Not a long option: known in `-o` only. */
  readonly inListOnly?: true
  /** @throws ValueError */
  readonly apply: (parsed: Parsed, value: string) => void
}

/** Descriptors below are standard input, output and error. */
const FIRST_FREE_FD = 3
/** A descriptor is an int. */
const FD_MAX = 0x7fff_ffff
/** As fs.nr_open at its highest. */
const NOFILE_MAX = 0x7fff_ffff

const CACHES: ReadonlyMap<string, GuestCache> = new Map([
  ['auto', 'auto'],
  ['always', 'always'],
  ['never', 'none'],
  ['none', 'none'],
  ['metadata', 'none'],
])

const SANDBOXES = ['namespace', 'chroot', 'none'] as const
const SECCOMP_ACTIONS = ['none', 'kill', 'log', 'trap'] as const
const FILE_HANDLE_MODES = ['never', 'fallback', 'prefer', 'mandatory'] as const

function flag(apply: (asked: VirtiofsdArguments) => void): Option {
  return {
    takes: 'nothing',
    apply: ({ asked }) => {
      apply(asked)
    },
  }
}

function value(apply: (asked: VirtiofsdArguments, value: string) => void): Option {
  return {
    takes: 'value',
    apply: ({ asked }, text) => {
      apply(asked, text)
    },
  }
}

/** An option that does nothing, unless its value asks for just that. */
function idle(
  option: string,
  takes: Option['takes'],
  why: string,
  choices?: readonly string[],
  asItIs: readonly string[] = [],
): Option {
  return {
    takes,
    apply: ({ remarks }, text) => {
      if (choices !== undefined) oneOf(choices, text)
      if (asItIs.includes(text)) remarks.delete(option)
      else remarks.set(option, `--${option} has no effect: ${why}`)
    },
  }
}

/** Extended attributes are what it needs, and are offered; the rest of it is not. "never" asks for nothing. */
function implyingXattr(option: string, why: string, choices: readonly string[]): Option {
  const rest = idle(option, 'optional value', why, choices, ['never'])
  return {
    takes: 'optional value',
    apply: (parsed, text) => {
      rest.apply(parsed, text)
      if (text !== 'never') parsed.asked.xattr = true
    },
  }
}

/** Nothing, without a word: what is asked for is so anyway. */
const GRANTED: Option = { takes: 'nothing', apply: () => undefined }

function refused(why: string): Option {
  return {
    takes: 'value',
    apply: () => {
      throw new ValueError(`is not supported: ${why}`)
    },
  }
}

const ACLS = 'beside extended attributes, access control lists are not offered to the guest'
const LABELS = 'beside extended attributes, the guest gives new files no label'
const IDS = 'files keep the owner that they have on the host'
const LOCKS = "locks are kept by the guest's kernel and not shared with the host"
const MIGRATION = 'the device takes no part in migration'
const THREADS = 'one event loop answers all requests'

const OPTIONS: ReadonlyMap<string, Option> = new Map<string, Option>([
  ['shared-dir', value((asked, text) => (asked.sharedDir = text))],
  ['socket-path', value((asked, text) => (asked.socketPath = parseSocketPath(text)))],
  ['socket', value((asked, text) => (asked.socketPath = parseSocketPath(text)))],
  ['fd', value((asked, text) => (asked.socketFd = wholeNumber(text, FIRST_FREE_FD, FD_MAX)))],
  ['socket-group', value((asked, text) => (asked.socketGroup = text))],
  ['log-level', value((asked, text) => (asked.logLevel = logLevel(text)))],
  ['syslog', flag((asked) => (asked.syslog = true))],
  ['rlimit-nofile', value((asked, text) => (asked.rlimitNofile = wholeNumber(text, 0, NOFILE_MAX)))],
  ['readonly', flag((asked) => (asked.readOnly = true))],
  ['writeback', flag((asked) => (asked.writeback = true))],
  ['xattr', flag((asked) => (asked.xattr = true))],
  ['allow-direct-io', flag((asked) => (asked.directIo = true))],
  ['cache', { takes: 'value', apply: applyCache }],
  [
    'tag',
    {
      takes: 'value',
      apply: ({ remarks }, text) => {
        if (Buffer.byteLength(text) > TAG_BYTES_MAX)
          throw new ValueError(`is longer than the ${TAG_BYTES_MAX} bytes of a tag`)
        remarks.set('tag', '--tag has no effect: the hypervisor gives the device its tag')
      },
    },
  ],
  ['thread-pool-size', idleNumber('thread-pool-size', THREADS)],
  ['announce-submounts', flag((asked) => (asked.announceSubmounts = true))],
  ['no-announce-submounts', flag((asked) => (asked.announceSubmounts = false))],
  ['sandbox', value((asked, text) => (asked.sandbox = choice(SANDBOXES, text)))],
  ['seccomp', value((asked, text) => (asked.seccomp = choice(SECCOMP_ACTIONS, text)))],
  ['modcaps', value((asked, text) => (asked.modcaps = modcaps(text)))],
  [
    'inode-file-handles',
    idle(
      'inode-file-handles',
      'value',
      'each file that the guest knows is a file descriptor',
      FILE_HANDLE_MODES,
      ['never'],
    ),
  ],
  ['posix-acl', implyingXattr('posix-acl', ACLS, ['', 'never', 'auto', 'always'])],
  ['security-label', implyingXattr('security-label', LABELS, ['', 'auto'])],
  ['allow-mmap', idle('allow-mmap', 'nothing', 'what a guest may map is up to its kernel and to --cache')],
  [
    'no-readdirplus',
    idle('no-readdirplus', 'nothing', "the guest's kernel chooses when a listing brings attributes"),
  ],
  ['killpriv-v2', idle('killpriv-v2', 'nothing', 'writing a file clears its set-user-ID bits in any case')],
  ['no-killpriv-v2', GRANTED],
  ['preserve-noatime', idle('preserve-noatime', 'nothing', 'files are opened without O_NOATIME')],
  ['migration-mode', idle('migration-mode', 'value', MIGRATION)],
  ['migration-on-error', idle('migration-on-error', 'value', MIGRATION)],
  ['migration-verify-handles', idle('migration-verify-handles', 'nothing', MIGRATION)],
  ['migration-confirm-paths', idle('migration-confirm-paths', 'nothing', MIGRATION)],
  ['xattrmap', refused('extended attributes have the same names on the host and in the guest')],
  ['uid-map', value((asked, text) => (asked.uidMap = [...(asked.uidMap ?? []), parseIdRange(text)]))],
  ['gid-map', value((asked, text) => (asked.gidMap = [...(asked.gidMap ?? []), parseIdRange(text)]))],
  ['translate-uid', refused(IDS)],
  ['translate-gid', refused(IDS)],
  ['daemonize', { ...refused('the daemon stays in the foreground'), takes: 'nothing' }],
  // Known in -o only.
  ['debug', { ...flag((asked) => (asked.logLevel = 'debug')), inListOnly: true }],
  ['no-writeback', { ...flag((asked) => (asked.writeback = false)), inListOnly: true }],
  ['no-xattr', { ...flag((asked) => (asked.xattr = false)), inListOnly: true }],
  ['no-allow-direct-io', { ...flag((asked) => (asked.directIo = false)), inListOnly: true }],
  ['flock', { ...idle('flock', 'nothing', LOCKS), inListOnly: true }],
  ['posix-lock', { ...idle('posix-lock', 'nothing', LOCKS), inListOnly: true }],
  [
    'timeout',
    { ...idle('timeout', 'value', '--cache says how long the guest keeps attributes'), inListOnly: true },
  ],
  ['max-idle-threads', { ...idleNumber('max-idle-threads', THREADS), inListOnly: true }],
  ...[
    'no-flock',
    'no-posix-lock',
    'no-posix-acl',
    'no-security-label',
    'readdirplus',
    'norace',
    'allow-root',
  ].map((name): [string, Option] => [name, { ...GRANTED, inListOnly: true }]),
])

/** As virtio_fs_config.tag. */
const TAG_BYTES_MAX = 36

/** What `-o` calls an option, where that is not its long name with underscores. */
const LIST_NAMES: ReadonlyMap<string, string> = new Map([
  ['source', 'shared-dir'],
  ['loglevel', 'log-level'],
])

/** Whether each long option takes a value. One whose value is optional takes it after "=" only. */
export const LONG_OPTIONS: ReadonlyMap<string, Option['takes']> = new Map(
  [...OPTIONS].filter(([, option]) => option.inListOnly !== true).map(([name, { takes }]) => [name, takes]),
)

/** Take a long option over. @throws ValueError on its value */
export function applyOption(parsed: Parsed, name: string, text = ''): void {
  OPTIONS.get(name)?.apply(parsed, text)
}

/**
 * Take over what one `-o` holds.
 * @throws ValueError
 */
export function applyList(parsed: Parsed, list: string): void {
  for (const item of splitList(list)) {
    const [, written = '', , text] = /^([^=]*)(=([^]*))?$/.exec(item) ?? []
    const name = LIST_NAMES.get(written) ?? written.replaceAll('_', '-')
    const option = OPTIONS.get(name)
    if (option === undefined || written.includes('-')) {
      throw new ValueError(`unknown option ${quote(written)}${didYouMean(written, LIST_CHOICES)}`)
    }
    if (option.takes === 'value' && (text ?? '') === '')
      throw new ValueError(`${quote(written)} needs a value: ${written}=...`)
    if (option.takes === 'nothing' && text !== undefined)
      throw new ValueError(`${quote(written)} takes no value`)
    try {
      option.apply(parsed, text ?? '')
    } catch (error) {
      if (!(error instanceof ValueError)) throw error
      throw new ValueError(`${written}: ${error.message}`)
    }
  }
}

const LIST_CHOICES = ['source', ...[...OPTIONS.keys()].map((name) => name.replaceAll('-', '_'))]

/** A comma in a path is written twice (libvirt) or after a backslash (libfuse). */
function splitList(list: string): string[] {
  const items = list.match(/(?:,,|\\[^]|[^,])+/g) ?? []
  return items.map((item) =>
    item.replaceAll(/,,|\\([^])/g, (_, escaped: string | undefined) => escaped ?? ','),
  )
}

function applyCache({ asked, remarks }: Parsed, text: string): void {
  const cache = CACHES.get(text)
  if (cache === undefined) throw notOneOf([...CACHES.keys()], text)
  asked.guestCache = cache
  if (text === 'metadata') {
    remarks.set('cache', '--cache=metadata means --cache=never here: attributes are kept no longer than data')
  } else {
    remarks.delete('cache')
  }
}

function idleNumber(name: string, why: string): Option {
  const option = idle(name, 'value', why)
  return {
    ...option,
    apply: (parsed, text) => {
      wholeNumber(text, 0, NOFILE_MAX)
      option.apply(parsed, text)
    },
  }
}

/** Ours, and what virtiofsd calls two of them. */
function logLevel(text: string): LogLevel {
  if (text === 'off') return 'silent'
  return text === 'err' ? 'error' : parseLogLevel(text)
}

function wholeNumber(text: string, min: number, max: number): number {
  const number = Number(text)
  if (!/^\d{1,10}$/.test(text) || number < min || number > max) {
    throw new ValueError(`expected a whole number of ${min} to ${max}, found ${quote(text)}`)
  }
  return number
}

/** virtiofsd's form. Which names there are, the launcher knows. */
function modcaps(text: string): string {
  if (!/^[+-][a-z_]+(?::[+-][a-z_]+)*$/i.test(text))
    throw new ValueError(`expected +NAME or -NAME, separated by colons, found ${quote(text)}`)
  return text
}

function oneOf(choices: readonly string[], text: string): void {
  if (!choices.includes(text)) throw notOneOf(choices, text)
}

function choice<Choice extends string>(choices: readonly Choice[], text: string): Choice {
  const found = choices.find((known) => known === text)
  if (found === undefined) throw notOneOf(choices, text)
  return found
}

function notOneOf(choices: readonly string[], text: string): ValueError {
  return new ValueError(
    `expected ${listChoices(choices.filter((choice) => choice !== ''))}, found ${quote(text)}`,
  )
}

/** The options that are about the shared directory alone, by their names, and what they make of it. */
export function sharedDirectoryOf(asked: VirtiofsdArguments): Omit<SharedDirectory, 'root'> {
  const { guestCache = 'auto', xattr = false, directIo = false, readOnly = false } = asked
  const { announceSubmounts = true } = asked
  return { guestCache, xattr, directIo, announceSubmounts, readOnly }
}
