/** Daemons as child processes, and connecting to one as soon as it listens. */
import { spawn, type ChildProcess } from 'node:child_process'
import { existsSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { once } from 'node:events'
import { setTimeout as delay } from 'node:timers/promises'
import { FrontEnd, type FrontEndOptions } from './front-end.js'
import { FuseClient, type InitOptions } from './fuse-client.js'

/** Debian's daemon in C (package qemu-system-common): the yardstick. */
export const VIRTIOFSD_PATH = '/usr/lib/qemu/virtiofsd'

// dist/test/frontend/ -> dist/src/cli/
const OVFSD_MAIN = fileURLToPath(new URL('../../src/cli/main.js', import.meta.url))
/** As "--sandbox=namespace --seccomp=kill": the tests then run on daemons with these options. */
const MORE_OPTIONS = (process.env['OVFSD_TEST_OPTIONS'] ?? '').split(' ').filter((option) => option !== '')
/** Where `Daemon.ovfsd` shows its directory. */
export const OVFSD_MOUNT_POINT = 'mount'

// A test process that ends early must not leave its daemons behind.
const alive = new Set<ChildProcess>()
process.on('exit', () => {
  for (const child of alive) child.kill('SIGKILL')
})

/** How often a socket that does not accept yet is tried. */
const RETRY_DELAY_MS = 10

/** A daemon in a process of its own, listening on a socket in a directory of its own. */
export class Daemon {
  readonly socketPath: string
  readonly process: ChildProcess
  readonly #directory: string
  #stderr = ''

  /** `command` gives the program and its arguments for a socket path. */
  constructor(command: (socketPath: string, directory: string) => readonly string[]) {
    this.#directory = mkdtempSync(join(tmpdir(), 'ovfsd-daemon-'))
    this.socketPath = join(this.#directory, 'vhost.sock')
    const [program = '', ...own] = command(this.socketPath, this.#directory)
    const args = own.includes(OVFSD_MAIN) ? [...own, ...MORE_OPTIONS] : own
    this.process = spawn(program, args, { stdio: ['ignore', 'ignore', 'pipe'] })
    alive.add(this.process)
    this.process.once('exit', () => {
      alive.delete(this.process)
    })
    this.process.stderr?.setEncoding('utf8').on('data', (text: string) => {
      this.#stderr += text
    })
  }

  /** Debian's virtiofsd on `source`; a `threads` of 0 answers in the queue's own thread. */
  static virtiofsd(source: string, threads = 0): Daemon {
    return new Daemon((socketPath) => [
      VIRTIOFSD_PATH,
      `--socket-path=${socketPath}`,
      `--thread-pool-size=${threads}`,
      '-o',
      `source=${source},cache=always,sandbox=chroot,xattr`,
    ])
  }
  /** Our own daemon with `directory` below `OVFSD_MOUNT_POINT`; `settings` are lines for [ovfsd_settings]. */
  static ovfsd(directory: string, settings = ''): Daemon {
    const options = { type: 'fs', mount_point: OVFSD_MOUNT_POINT, root: directory }
    return Daemon.ovfsdWith({ test: options }, settings)
  }

  /** Our own daemon with these profiles: text options by their keys. */
  static ovfsdWith(
    profiles: Readonly<Record<string, Readonly<Record<string, string>>>>,
    settings = '',
  ): Daemon {
    return new Daemon((socketPath, own) => {
      const config = join(own, 'ovfsd.toml')
      const tables = Object.entries(profiles).map(([name, options]) =>
        [
          `[profiles.${name}]`,
          ...Object.entries(options).map(([key, value]) => `${key} = ${JSON.stringify(value)}`),
        ].join('\n'),
      )
      const head = `[ovfsd_settings]\nsocket_path = ${JSON.stringify(socketPath)}\n${settings}`
      writeFileSync(config, [head, ...tables, ''].join('\n'))
      return [process.execPath, OVFSD_MAIN, `--config-file=${config}`]
    })
  }
  static virtiofsdAvailable(): boolean {
    return existsSync(VIRTIOFSD_PATH) && process.getuid?.() === 0
  }

  /** What the daemon has said so far. */
  get stderr(): string {
    return this.#stderr
  }
  get running(): boolean {
    return this.process.exitCode === null && this.process.signalCode === null
  }

  /** Connect once the daemon listens. The first connection is the real one: virtiofsd serves no second. */
  async connect(options: Omit<FrontEndOptions, 'socketPath'> = {}, timeoutMs = 20_000): Promise<FrontEnd> {
    const deadline = Date.now() + timeoutMs
    for (;;) {
      if (!this.running) throw new Error(`the daemon ended before it listened: ${this.#stderr}`)
      try {
        return new FrontEnd({ ...options, socketPath: this.socketPath })
      } catch (error) {
        if (Date.now() > deadline) throw error
        await delay(RETRY_DELAY_MS)
      }
    }
  }
  /** Connect, negotiate and FUSE_INIT once the daemon listens. */
  async mount(
    options: Omit<FrontEndOptions, 'socketPath'> = {},
    init: InitOptions = {},
  ): Promise<FuseClient> {
    const client = new FuseClient(await this.connect(options))
    try {
      await client.front.negotiate()
      await client.init(init)
    } catch (error) {
      client.close()
      throw error
    }
    return client
  }

  /** End the daemon and remove its directory. Resolves to its exit code, or the signal's name. */
  async stop(signal: NodeJS.Signals = 'SIGTERM'): Promise<number | NodeJS.Signals | null> {
    if (this.running) {
      this.process.kill(signal)
      await once(this.process, 'exit')
    }
    rmSync(this.#directory, { recursive: true, force: true })
    return this.process.exitCode ?? this.process.signalCode
  }
}
