/** What the daemon has of the host inside its sandbox, by its configuration; see `native/launcher`. */
import { lstatSync, existsSync, readlinkSync } from 'node:fs'
import { dirname, isAbsolute, resolve } from 'node:path'
import { useProcessTable } from '../backends/process-identity.js'
import { ConfigError, isPipe, loadSettings, type Settings } from '../config/index.js'
import { setHostProcessId } from '../observability/host-process-id.js'
import type { RunArguments } from './arguments.js'
import type { IdRange } from './id-map.js'
import { HOST_TYPES } from './local-types.js'
import { socketsFor } from './system-calls.js'
import { Launcher, type Network, type Place, type Understood } from './launcher.js'

/** Of links to a configuration file, one leading to the next: as the kernel's. */
const LINKS_MAX = 40

/** Options of stores that name a file of the host: `credential_path`... */
const FILE_OPTION = /_(?:path|file)$/

export class SandboxedHost {
  readonly #launcher: Launcher
  readonly #bound: Place[] = []

  private constructor(launcher: Launcher) {
    this.#launcher = launcher
  }

  /**
   * The sandbox that the command line asks for; null: none. Starts this process again where it is asked for one and has none.
   * @throws Error when there can't be one
   */
  static enter(args: RunArguments, commandLine: readonly string[]): SandboxedHost | null {
    const launcher = Launcher.take()
    if (launcher === null) {
      if (!wantsSandbox(args)) return null
      return Launcher.startAgain(commandLine, descriptorsOf(args))
    }
    const asAsked = args.sandbox === undefined || args.sandbox === launcher.sandbox
    if (!asAsked || (launcher.sandbox !== 'none' && !isUnderstood(launcher.understood, args)))
      throw new Error(
        'the launcher has understood the options of the sandbox otherwise: write --OPTION=VALUE',
      )
    if (launcher.sandbox === 'none') return null
    setHostProcessId(launcher.pid)
    useProcessTable(launcher)
    return new SandboxedHost(launcher)
  }

  get kind(): 'namespace' | 'chroot' {
    return this.#launcher.sandbox === 'chroot' ? 'chroot' : 'namespace'
  }

  get network(): Network {
    return this.#launcher.network
  }

  /** Beside the mounts, the kernel's Landlock keeps the daemon inside. */
  get hasLandlock(): boolean {
    return this.#launcher.hasLandlock
  }

  /**
   * Load the settings, with the files that they are in and those that they name.
   * @throws ConfigError; Error of the sandbox
   */
  loadSettings({ configFile, overrides }: RunArguments): Settings {
    if (configFile !== undefined) this.#bindFile(resolve(configFile))
    try {
      return loadSettings(configFile, overrides, { allowPipe: true })
    } catch (error) {
      if (!(error instanceof ConfigError) || error.secretFiles.length === 0) throw error
      for (const file of error.secretFiles) if (isAbsolute(file)) this.#bindFile(file)
      return loadSettings(configFile, overrides, { allowPipe: true })
    }
  }

  /**
   * Have all that the settings need, and nothing else from then on. Returns the places that are not there.
   * @throws Error when something can't be had
   */
  seal(settings: Settings, args: RunArguments): string[] {
    const { rlimitNofile = 0, seccomp = 'kill', configFile = '' } = args
    const network = this.#needsHostNetwork(settings, args) ? 'host' : 'own'
    // The launcher has guessed; what came through a pipe does not come again.
    if (network !== this.#launcher.network && !isPipe(configFile)) this.#launcher.startAgainWith(network)
    const places = placesOf(settings)
    this.#bind(places)
    if (rlimitNofile > 0) this.#launcher.limitOpenFiles(rlimitNofile)
    this.#launcher.seal(seccomp)
    return places.filter(({ path }) => !existsSync(path)).map(({ path }) => path)
  }

  /** What settings that come later need and the sealed sandbox has not; null: nothing. */
  missing(settings: Settings, args: RunArguments): string | null {
    if (this.#launcher.network === 'own' && this.#needsHostNetwork(settings, args))
      return 'the sandbox has been made without a network: that needs a restart'
    const lacking = placesOf(settings).filter((place) => !this.#has(place))
    if (lacking.length === 0) return null
    return `the sandbox has been made without ${lacking.map(({ path }) => path).join(', ')}: that needs a restart`
  }

  #needsHostNetwork(settings: Settings, args: RunArguments): boolean {
    return this.kind === 'chroot' || socketsFor(settings, args) === 'all'
  }

  #has({ path, access }: Place): boolean {
    return this.#bound.some(
      (bound) =>
        (path === bound.path || path.startsWith(bound.path === '/' ? '/' : `${bound.path}/`)) &&
        (access === 'read' || bound.access !== 'read'),
    )
  }

  /** A place below one of the same kind is there already. */
  #bind(places: readonly Place[]): void {
    const wanted: Place[] = []
    for (const place of places.toSorted((a, b) => (a.path < b.path ? -1 : 1))) {
      if (this.#has(place)) continue
      wanted.push(place)
      this.#bound.push(place)
    }
    if (wanted.length > 0) this.#launcher.bind(wanted)
  }

  /** The directory of a file, so that another file can take its place; and of those that it is a link to. */
  #bindFile(file: string): void {
    let path = file
    for (let links = 0; links < LINKS_MAX; links++) {
      // Devices and descriptors are there: a configuration may come through a pipe.
      if (path.startsWith('/dev/') || path.startsWith('/proc/')) return
      this.#bind([{ path: dirname(path), access: 'read' }])
      if (lstatSync(path, { throwIfNoEntry: false })?.isSymbolicLink() !== true) return
      path = resolve(dirname(path), readlinkSync(path))
    }
  }
}

function isUnderstood(
  { modcaps, uidMap, gidMap }: Understood,
  { modcaps: ours = '', uidMap: users = [], gidMap: groups = [] }: RunArguments,
): boolean {
  const text = (map: readonly IdRange[]): string =>
    map.map(({ inside, outside, count }) => `${inside}:${outside}:${count}`).join() || '-'
  return modcaps === ours && uidMap === text(users) && gidMap === text(groups)
}

/** As `sandbox_for` in native/launcher/main.cc, which is what counts: it may find that there can be none, where none was asked for. */
function wantsSandbox({ sandbox, overrides, uidMap, gidMap }: RunArguments): boolean {
  if (uidMap !== undefined || gidMap !== undefined) return true
  return sandbox === undefined ? overrides.sharedDirectory !== undefined : sandbox !== 'none'
}

/** Those that whoever started the daemon has opened for it. */
function descriptorsOf({ socketFd, configFile = '' }: RunArguments): number[] {
  const [, ofConfig] = /^\/(?:dev|proc\/self)\/fd\/(\d{1,9})$/.exec(configFile) ?? []
  return [socketFd, ofConfig].filter((fd) => fd !== undefined).map(Number)
}

function placesOf({ settings, mounts, secretFiles }: Settings): Place[] {
  const { socketPath, cacheDir, controlSocket, accessLog, metricsAddress } = settings
  const sockets = [
    socketPath === '' ? null : socketPath,
    controlSocket,
    accessLog,
    metricsAddress !== null && 'path' in metricsAddress ? metricsAddress.path : null,
  ]
  const places: Place[] = sockets
    .filter((path) => path !== null)
    .map((path) => ({ path: dirname(resolve(path)), access: 'write' }))
  if (cacheDir !== null) places.push({ path: resolve(cacheDir), access: 'make' })
  for (const file of secretFiles) places.push({ path: dirname(file), access: 'read' })
  for (const { type, options, readOnly } of mounts) {
    const { root } = options
    if (HOST_TYPES.has(type) && root !== undefined) {
      const created = options['create_root'] === 'true' ? 'make' : 'write'
      places.push({ path: resolve(root), access: readOnly ? 'read' : created })
    }
    for (const [name, value] of Object.entries(options))
      if (FILE_OPTION.test(name) && isAbsolute(value)) places.push({ path: dirname(value), access: 'read' })
  }
  return places
}
