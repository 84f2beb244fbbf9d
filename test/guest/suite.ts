import assert from 'node:assert/strict'
import { after, before, it } from 'node:test'
import type { StoreView } from '../support/store.js'
import { Guest, type GuestDevice } from './guest.js'
import { startDaemon, type DaemonOptions, type RunningDaemon } from './daemon.js'

/** Where the guest mounts a daemon's root directory, by the device's tag. */
export const mountRoot = (tag: string): string => `/mnt/${tag}`

/** What every script begins with. `refuses ERRNO COMMAND...` demands that an fscalls command fails just so. */
const PRELUDE = `
refuses() {
  local want="$1" got; shift
  if got=$(fscalls "$@" 2>&1); then echo "fscalls $*: expected $want, but it succeeded"; return 1; fi
  [ "$got" = "$1: $want" ] || { echo "fscalls $*: expected $want, got: $got"; return 1; }
}
# fails ERRNO|ERRNO... COMMAND...: the same, where one of several errnos will do.
fails() {
  local allowed="$1" got; shift
  if got=$(fscalls "$@" 2>&1); then echo "fscalls $*: expected $allowed, but it succeeded"; return 1; fi
  case "|$allowed|" in *"|\${got#"$1: "}|"*) ;; *) echo "fscalls $*: expected $allowed, got: $got"; return 1 ;; esac
}
same() { [ "$1" = "$2" ] || { echo "expected: $2"; echo "     got: $1"; return 1; }; }
`

/** A mount point of a daemon, as the tests see it: the rows of the table that the common cases run over. */
export interface MountUnderTest {
  /** How the tests' names call it. */
  readonly name: string
  readonly tag: string
  /** The profile's name in the daemon's configuration. */
  readonly profile: string
  /** The profile's mount_point. */
  readonly mountPoint: string
  /** True if the files lie in a folder of the host, so that both views can be compared. */
  readonly onHost: boolean
  /** Somebody else's access to a storage on a server, once that runs. */
  readonly outside: (() => StoreView) | null
  readonly sizes: CaseSizes
  /** False where ":" in a name is EINVAL. */
  readonly keepsColons: boolean
  /** False where white space at the end of a name is EINVAL. */
  readonly keepsTrailingSpace: boolean
  /** True where links, modes and names of any bytes are kept. Default: false. */
  readonly isPosix?: boolean
}

/** How much of each work a storage is given. The kinds of work are the same for all. */
export interface CaseSizes {
  /** MiB of the large file: what the storage holds comfortably, and more than the daemon caches. */
  readonly largeFileMiB: number
  /** MiB of one of the pieces that it is made of. */
  readonly largePieceMiB: number
  /** Bytes of the files that are written and read past the page cache; odd. */
  readonly directBytes: number
  /** MiB of the file of each of four jobs of fio. */
  readonly fioMiB: number
  /** Directories of the deepest path, each in the one before. */
  readonly levels: number
  /** Files that tar packs, and those that git keeps. */
  readonly trackedFiles: number
  /** Whether git is run, and whether with its sample hooks in each repository and in what it keeps: some 15 more files each. */
  readonly git: 'with samples' | 'plain' | 'not'
  /** Transactions in which sqlite inserts, and rows of each; their product is a multiple of 6. */
  readonly transactions: number
  readonly transactionRows: number
  /** Files of the large directory; a multiple of 40. */
  readonly entries: number
  /** How often each of eight processes goes through all its work. */
  readonly rounds: number
  /** Files that come and go while others list their directory. */
  readonly visitors: number
}

/** For storage on this machine, which answers in microseconds. */
export const LOCAL_SIZES: CaseSizes = {
  ...{ largeFileMiB: 512, largePieceMiB: 64, directBytes: 1_000_123, fioMiB: 2, levels: 60 },
  ...{ trackedFiles: 40, git: 'with samples', transactions: 6, transactionRows: 200 },
  ...{ entries: 4000, rounds: 6, visitors: 200 },
}

/** For storage that nobody but the guest can fill: each of its processes takes an emulated processor milliseconds. */
export const MEMORY_SIZES: CaseSizes = { ...LOCAL_SIZES, largeFileMiB: 192 }

/** For servers, where each file costs several requests of milliseconds. */
export const SERVER_SIZES: CaseSizes = {
  ...{ largeFileMiB: 64, largePieceMiB: 16, directBytes: 300_123, fioMiB: 1, levels: 12 },
  ...{ trackedFiles: 12, git: 'plain', transactions: 4, transactionRows: 150 },
  // A thousand entries are a page of S3's listings, and of HDFS's.
  ...{ entries: 1120, rounds: 2, visitors: 20 },
}

/** The daemons of a suite, by the tag of the device that each serves. */
export type DaemonsByTag = Readonly<Record<string, DaemonOptions>>

/** One guest and the daemons that it is connected to, started before a file's tests and ended after them. */
export class GuestSuite {
  #guest: Guest | undefined
  readonly #daemons = new Map<string, RunningDaemon>()
  readonly #options: () => Promise<DaemonsByTag> | DaemonsByTag

  /** @param options the daemons, by the tag of the device that each serves; asked for when the tests begin */
  constructor(options: () => Promise<DaemonsByTag> | DaemonsByTag) {
    this.#options = options
    before(async () => {
      await this.#start()
    })
    after(async () => {
      await this.#guest?.close()
      for (const daemon of this.#daemons.values()) await daemon.stop()
    })
  }

  get guest(): Guest {
    assert(this.#guest !== undefined, 'the guest was not started')
    return this.#guest
  }

  daemon(tag: string): RunningDaemon {
    const daemon = this.#daemons.get(tag)
    assert(daemon !== undefined, `no daemon serves ${tag}`)
    return daemon
  }

  /** Where a mount's files lie on the host. */
  hostFolder(mount: MountUnderTest): string {
    return this.daemon(mount.tag).hostFolder(mount.profile)
  }

  /** Run a script that must succeed; returns what it printed. */
  async sh(script: string, timeoutMs?: number): Promise<string> {
    const { exitCode, stdout } = await this.guest.run(
      PRELUDE + script,
      timeoutMs === undefined ? {} : { timeoutMs },
    )
    if (exitCode === 0) return stdout
    const logs = [...this.#daemons.values()].map((daemon) => daemon.process.tail())
    assert.fail([`exit code ${exitCode} from`, script, 'which printed', stdout, ...logs].join('\n'))
  }

  /** A test whose script runs in a folder of its own on the mount, which is removed afterwards. `check` may look further. */
  inFolder(mount: MountUnderTest, name: string, script: string, options: CaseOptions = {}): void {
    it(name, async () => {
      const folder = `${mountRoot(mount.tag)}/${mount.mountPoint}/${folderName(name)}`
      await this.sh(`mkdir '${folder}'`)
      await options.prepare?.(folderName(name))
      const output = await this.sh(`cd '${folder}'\n${script}`, options.timeoutMs)
      await options.check?.(output, folderName(name))
      await this.sh(`rm -r '${folder}'; [ ! -e '${folder}' ]`, options.timeoutMs)
    })
  }

  /** Mount every daemon in the guest. */
  async mountAll(): Promise<void> {
    for (const tag of this.#daemons.keys())
      await this.sh(`mkdir -p ${mountRoot(tag)}; mount -t virtiofs ${tag} ${mountRoot(tag)}`)
  }

  async unmountAll(): Promise<void> {
    for (const tag of this.#daemons.keys()) await this.sh(`umount ${mountRoot(tag)}`)
  }

  async #start(): Promise<void> {
    const devices: GuestDevice[] = []
    for (const [tag, options] of Object.entries(await this.#options())) {
      const daemon = await startDaemon(options)
      this.#daemons.set(tag, daemon)
      devices.push({ tag, socketPath: daemon.socketPath, daemon: daemon.process })
    }
    this.#guest = await Guest.boot({ devices })
    await this.mountAll()
  }
}

export interface CaseOptions {
  readonly timeoutMs?: number
  /** Called with the folder's name below the mount, when that is there and empty. */
  readonly prepare?: (folder: string) => Promise<void>
  /** Called with what the script printed and the name of its folder below the mount. */
  readonly check?: (output: string, folder: string) => Promise<void> | void
}

/** A folder's name from a test's. */
const folderName = (name: string): string => name.replaceAll(/[^a-zA-Z0-9]+/g, '-').slice(0, 60)
