/**
 * The launcher (`native/launcher`): the process that has started this one in a sandbox, and does for it while it starts what can't be
 * done from inside. Without a sandbox there is none.
 */
import { readSync, writeSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import type { ProcessIdentity } from '../backends/process-identity.js'
import { loadNative } from '../virtio/native.js'

/** The host's, or one in which there is nobody else. */
export type Network = 'host' | 'own'

export type Sandbox = 'namespace' | 'chroot' | 'none'

/**
 * What the launcher tells: the sandbox, the socket, its own process id, when that began, the pid namespace it is in, whether Landlock is
 * on, whose network it is, and --uid-map, --gid-map and --modcaps.
 */
const TOLD = 'OVFSD_LAUNCHER'

const PROGRAM = fileURLToPath(new URL('../../../native/build/Release/ovfsd-launch', import.meta.url))

/** Longer than any answer. */
const ANSWER_BYTES_MAX = 8192

/** A path to be had inside: to be read or written, or (`make`) a directory to be made where it is missing, and written. */
export interface Place {
  readonly path: string
  readonly access: 'read' | 'write' | 'make'
}

const LETTERS: Readonly<Record<Place['access'], string>> = { read: 'r', write: 'w', make: 'm' }

/** Of the command line, what the launcher and the daemon both read. */
export interface Understood {
  readonly modcaps: string
  /** "INSIDE:OUTSIDE:COUNT,..."; "-": as without. */
  readonly uidMap: string
  readonly gidMap: string
}

export class Launcher {
  private constructor(
    readonly sandbox: Sandbox,
    readonly understood: Understood,
    private readonly socket: number,
    /** What the host knows the daemon as. */
    readonly pid: number,
    private readonly startTime: string,
    private readonly pidNamespace: string,
    /** No file outside can be reached by a descriptor either: the kernel has Landlock. */
    readonly hasLandlock: boolean,
    readonly network: Network,
  ) {}

  /** Who has started this process; null: not the launcher. To be asked once. */
  static take(environment: NodeJS.ProcessEnv = process.env): Launcher | null {
    const told = environment[TOLD]
    Reflect.deleteProperty(environment, TOLD)
    if (told === undefined) return null
    const [sandbox = '', socket, pid, startTime = '', pidNamespace = '', landlock, network, ...options] =
      told.split(' ')
    const [uidMap = '', gidMap = '', modcaps = ''] = options
    if (sandbox !== 'namespace' && sandbox !== 'chroot' && sandbox !== 'none')
      throw new Error(`${TOLD}: unexpected value`)
    return new Launcher(
      sandbox,
      { modcaps, uidMap, gidMap },
      Number(socket),
      Number(pid),
      startTime,
      pidNamespace,
      landlock === 'landlock',
      network === 'own' ? 'own' : 'host',
    )
  }

  /** Start this process once more, by the launcher, with these descriptors beside the standard ones. @throws Error when that can't be */
  static startAgain(args: readonly string[], descriptors: readonly number[]): never {
    const [node, script = ''] = [process.execPath, process.argv[1]]
    const command = [PROGRAM, node, ...process.execArgv, '--', script, ...args]
    return loadNative().execute(PROGRAM, command, [0, 1, 2, ...descriptors])
  }

  /** Start this process once more, in the sandbox, with another network. @throws Error when that can't be */
  startAgainWith(network: Network): never {
    // There is no answer: whoever waits for it is ended.
    throw new Error(`the sandbox can't be made: ${this.#exchange([`o${network}`])}`)
  }

  /** Have these places inside; what is not there is left out. @throws Error saying what can't be had */
  bind(places: readonly Place[]): void {
    this.#ask(places.map(({ path, access }) => `${LETTERS[access]}${path}`))
  }

  /** The limit of open files, the hard one too: inside, nobody may raise that. @throws Error */
  limitOpenFiles(limit: number): void {
    this.#ask([`n${limit}`])
  }

  /** From now on no place is added, and the launcher may do no more than this process; `filter` is as --seccomp. @throws Error */
  seal(filter: string): void {
    this.#ask([`f${filter}`, 'seal'])
  }

  /** As other daemons can look for it, in a pid namespace that outlives it. */
  identity(bootId: string): ProcessIdentity {
    const { pid, startTime, pidNamespace } = this
    return { bootId, pidNamespace, pid, startTime }
  }

  /** Whether a process that is not seen from here has gone, for certain. */
  isGone({ pid, startTime, pidNamespace }: Omit<ProcessIdentity, 'bootId'>): boolean {
    return pidNamespace === this.pidNamespace && this.#exchange([`g${pid} ${startTime}`]) === 'gone'
  }

  #ask(items: readonly string[]): void {
    const answer = this.#exchange(items)
    if (answer !== 'ok') throw new Error(`the sandbox can't be made: ${answer}`)
  }

  /** Waits for the answer, which takes a few system calls: while the daemon starts, or rarely. */
  #exchange(items: readonly string[]): string {
    const request = Buffer.from(`${items.map((item) => `${item}\0`).join('')}\0`)
    for (let sent = 0; sent < request.length;) sent += writeSync(this.socket, request, sent)
    const answer = Buffer.alloc(ANSWER_BYTES_MAX)
    let length = 0
    while (length === 0 || answer[length - 1] !== 0) {
      const got = readSync(this.socket, answer, length, answer.length - length, null)
      if (got === 0) throw new Error('the launcher does not answer')
      length += got
    }
    return answer.toString('utf8', 0, length - 1)
  }
}
