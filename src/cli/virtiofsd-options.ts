/**
 * The options of virtiofsd, so that whatever starts virtiofsd can start ovfsd in its place: those of the Rust daemon
 * (`--shared-dir DIR --cache auto`) and of the C daemon before it (`-o source=DIR,cache=auto`).
 *
 * An option that has an effect says here which. One that has none says why in a sentence, which the daemon logs. One whose
 * silent loss would put data under the wrong owner or name is refused.
 */
import { listChoices, quote, ValueError } from '../config/problem.js'
import { requireRules } from '../config/host-rules.js'
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
  fileHandles?: SharedDirectory['fileHandles']
  posixAcl?: boolean
  securityLabel?: boolean
  killprivV2?: boolean
  allowMmap?: boolean
  readdirplus?: boolean
  preserveNoatime?: boolean
  xattrmap?: string
  /** One rule for each time that the option was given. */
  translateUid?: readonly string[]
  translateGid?: readonly string[]
  /** 0: as many as without the option. */
  threadPoolSize?: number
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
  ['metadata', 'metadata'],
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

/** On, but for "never". */
function unlessNever(
  choices: readonly string[],
  apply: (asked: VirtiofsdArguments, isOn: boolean) => void,
): Option {
  return {
    takes: 'optional value',
    apply: ({ asked }, text) => {
      oneOf(choices, text)
      apply(asked, text !== 'never')
    },
  }
}

/** Rules that are read here already, so that the start fails on the option. */
function rules(
  key: 'xattrmap' | 'translate_uid' | 'translate_gid',
  apply: (asked: VirtiofsdArguments, text: string) => void,
): Option {
  return value((asked, text) => {
    requireRules(key, text)
    apply(asked, text)
  })
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

const LOCKS = "locks are kept by the guest's kernel and not shared with the host"
const MIGRATION = 'the device takes no part in migration'
const THREADS = 'threads stay for the next work'
/** As libuv has at most, of which one is the daemon's own. */
const THREADS_MAX = 1023

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
  ['thread-pool-size', value((asked, text) => (asked.threadPoolSize = wholeNumber(text, 0, THREADS_MAX)))],
  ['announce-submounts', flag((asked) => (asked.announceSubmounts = true))],
  ['no-announce-submounts', flag((asked) => (asked.announceSubmounts = false))],
  ['sandbox', value((asked, text) => (asked.sandbox = choice(SANDBOXES, text)))],
  ['seccomp', value((asked, text) => (asked.seccomp = choice(SECCOMP_ACTIONS, text)))],
  ['modcaps', value((asked, text) => (asked.modcaps = modcaps(text)))],
  ['inode-file-handles', value((asked, text) => (asked.fileHandles = fileHandles(text)))],
  ['posix-acl', unlessNever(['', 'never', 'auto', 'always'], (asked, isOn) => (asked.posixAcl = isOn))],
  ['security-label', unlessNever(['', 'auto'], (asked, isOn) => (asked.securityLabel = isOn))],
  ['allow-mmap', flag((asked) => (asked.allowMmap = true))],
  ['no-readdirplus', flag((asked) => (asked.readdirplus = false))],
  ['killpriv-v2', flag((asked) => (asked.killprivV2 = true))],
  ['no-killpriv-v2', flag((asked) => (asked.killprivV2 = false))],
  ['preserve-noatime', flag((asked) => (asked.preserveNoatime = true))],
  ['migration-mode', idle('migration-mode', 'value', MIGRATION)],
  ['migration-on-error', idle('migration-on-error', 'value', MIGRATION)],
  ['migration-verify-handles', idle('migration-verify-handles', 'nothing', MIGRATION)],
  ['migration-confirm-paths', idle('migration-confirm-paths', 'nothing', MIGRATION)],
  ['xattrmap', rules('xattrmap', (asked, text) => (asked.xattrmap = text))],
  ['uid-map', value((asked, text) => (asked.uidMap = [...(asked.uidMap ?? []), parseIdRange(text)]))],
  ['gid-map', value((asked, text) => (asked.gidMap = [...(asked.gidMap ?? []), parseIdRange(text)]))],
  [
    'translate-uid',
    rules('translate_uid', (asked, text) => (asked.translateUid = [...(asked.translateUid ?? []), text])),
  ],
  [
    'translate-gid',
    rules('translate_gid', (asked, text) => (asked.translateGid = [...(asked.translateGid ?? []), text])),
  ],
  ['daemonize', { ...refused('the daemon stays in the foreground'), takes: 'nothing' }],
  // Known in -o only.
  ['debug', { ...flag((asked) => (asked.logLevel = 'debug')), inListOnly: true }],
  ['no-writeback', { ...flag((asked) => (asked.writeback = false)), inListOnly: true }],
  ['no-xattr', { ...flag((asked) => (asked.xattr = false)), inListOnly: true }],
  ['no-allow-direct-io', { ...flag((asked) => (asked.directIo = false)), inListOnly: true }],
  ['flock', { ...refused(LOCKS), takes: 'nothing', inListOnly: true }],
  ['posix-lock', { ...refused(LOCKS), takes: 'nothing', inListOnly: true }],
  ['readdirplus', { ...flag((asked) => (asked.readdirplus = true)), inListOnly: true }],
  ['no-posix-acl', { ...flag((asked) => (asked.posixAcl = false)), inListOnly: true }],
  ['no-security-label', { ...flag((asked) => (asked.securityLabel = false)), inListOnly: true }],
  [
    'timeout',
    { ...idle('timeout', 'value', '--cache says how long the guest keeps attributes'), inListOnly: true },
  ],
  ['max-idle-threads', { ...idleNumber('max-idle-threads', THREADS), inListOnly: true }],
  ...['no-flock', 'no-posix-lock', 'norace', 'allow-root'].map((name): [string, Option] => [
    name,
    { ...GRANTED, inListOnly: true },
  ]),
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

function applyCache({ asked }: Parsed, text: string): void {
  const cache = CACHES.get(text)
  if (cache === undefined) throw notOneOf([...CACHES.keys()], text)
  asked.guestCache = cache
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

function fileHandles(text: string): SharedDirectory['fileHandles'] {
  const mode = choice(FILE_HANDLE_MODES, text)
  return mode === 'fallback' ? 'prefer' : mode
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
  const { guestCache = 'auto', directIo = false, readOnly = false, announceSubmounts = true } = asked
  const { posixAcl = false, securityLabel = false, killprivV2 = false, allowMmap = false } = asked
  const {
    readdirplus = true,
    preserveNoatime = false,
    fileHandles = 'prefer',
    xattrmap,
    translateUid,
    translateGid,
  } = asked
  const xattr = asked.xattr === true || posixAcl || securityLabel || xattrmap !== undefined
  return {
    ...{ guestCache, xattr, directIo, announceSubmounts, readOnly, posixAcl, securityLabel, killprivV2 },
    ...{ allowMmap, readdirplus, preserveNoatime, fileHandles },
    ...(xattrmap === undefined ? {} : { xattrmap }),
    ...(translateUid === undefined ? {} : { translateUid: translateUid.join(' ') }),
    ...(translateGid === undefined ? {} : { translateGid: translateGid.join(' ') }),
  }
}
