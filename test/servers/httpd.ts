/** Apache httpd on loopback: a directory of the host by WebDAV, and the same by plain HTTP. */
import { chmodSync, chownSync, cpSync, existsSync, writeFileSync } from 'node:fs'
import path from 'node:path'
import { httpdDirectory } from './locations.js'
import { portAt, reservePorts, type PortBlock } from './ports.js'
import { ServerProcess } from './server-process.js'
import { createStateDirectory, type StateDirectory } from './state-directory.js'
import { answers, LOOPBACK, type StorageServer } from './storage-server.js'

const START_DEADLINE_MS = 60_000
/** More than a mount has requests under way. */
const THREADS = 64
/** nobody: the server refuses to serve as root. */
const UNPRIVILEGED_ID = 65_534
const MODULES = ['mpm_event', 'authz_core', 'autoindex', 'dir', 'dav', 'dav_fs']
const PROGRAM = 'usr/sbin/apache2'

/** One process with threads; it stores in `directory`. */
export class Httpd implements StorageServer {
  /** WebDAV: `http://127.0.0.1:PORT`. */
  readonly davEndpoint: string
  /** Plain HTTP, with pages for directories: `http://127.0.0.1:PORT`. */
  readonly httpEndpoint: string
  /** What it serves, on the host. */
  readonly directory: string
  readonly #state: StateDirectory
  readonly #block: PortBlock
  readonly #root: string
  #server: ServerProcess | null = null

  /** By {@link startHttpd} only. */
  constructor(state: StateDirectory, block: PortBlock) {
    this.#state = state
    this.#block = block
    this.#root = path.join(state.path, 'httpd')
    this.directory = path.join(state.path, 'data')
    this.davEndpoint = `http://${LOOPBACK}:${portAt(block, 0)}`
    this.httpEndpoint = `http://${LOOPBACK}:${portAt(block, 1)}`
  }

  /** By {@link startHttpd} only. */
  async start(): Promise<void> {
    if (!existsSync(path.join(httpdDirectory, PROGRAM)))
      throw new Error('Apache httpd has not been fetched: run "node scripts/setup.mjs servers"')
    // A copy: the cache may be where an unprivileged user is not let in.
    cpSync(httpdDirectory, this.#root, { recursive: true, verbatimSymlinks: true })
    writeFileSync(path.join(this.#state.path, 'httpd.conf'), this.#configuration())
    if (isRoot()) {
      chmodSync(this.#state.path, 0o711)
      for (const name of ['data', 'run', 'log'])
        chownSync(path.join(this.#state.path, name), UNPRIVILEGED_ID, UNPRIVILEGED_ID)
    }
    await this.restart()
  }

  async kill(): Promise<void> {
    await this.#server?.stop()
    this.#server = null
  }

  async restart(): Promise<void> {
    await this.kill()
    const server = new ServerProcess({
      name: 'httpd',
      command: path.join(this.#root, PROGRAM),
      args: ['-X', '-f', path.join(this.#state.path, 'httpd.conf')],
      environment: { LD_LIBRARY_PATH: path.join(this.#root, 'usr/lib/x86_64-linux-gnu') },
      logDirectory: path.join(this.#state.path, 'log'),
      ...(isRoot() && { userId: UNPRIVILEGED_ID }),
    })
    this.#server = server
    await server.untilReady(`answers at ${this.httpEndpoint}`, START_DEADLINE_MS, () =>
      answers(`${this.httpEndpoint}/`),
    )
  }

  async stop(): Promise<void> {
    await this.kill()
    this.#block.release()
    this.#state.remove()
  }

  #configuration(): string {
    const run = path.join(this.#state.path, 'run')
    const modules = path.join(this.#root, 'usr/lib/apache2/modules')
    return [
      `ServerRoot "${run}"`,
      `ServerName ${LOOPBACK}`,
      ...[this.davEndpoint, this.httpEndpoint].map((endpoint) => `Listen ${new URL(endpoint).host}`),
      `PidFile "${run}/pid"`,
      `ErrorLog "${path.join(this.#state.path, 'log/error.log')}"`,
      ...MODULES.map((name) => `LoadModule ${name}_module "${modules}/mod_${name}.so"`),
      `ThreadsPerChild ${THREADS}`,
      `MaxRequestWorkers ${THREADS}`,
      'KeepAlive On',
      `DocumentRoot "${this.directory}"`,
      `DavLockDB "${run}/locks"`,
      `<VirtualHost ${new URL(this.davEndpoint).host}>`,
      '  <Location "/">',
      '    Dav On',
      '    DirectoryIndex disabled',
      '  </Location>',
      '</VirtualHost>',
      `<VirtualHost ${new URL(this.httpEndpoint).host}>`,
      '  <Location "/">',
      '    Options Indexes',
      '  </Location>',
      '</VirtualHost>',
      '',
    ].join('\n')
  }
}

function isRoot(): boolean {
  return process.getuid?.() === 0
}

/** Start a server of its own for the caller, with an empty directory. */
export async function startHttpd(): Promise<Httpd> {
  const block = await reservePorts()
  const state = createStateDirectory('httpd', ['log', 'run', 'data'])
  const httpd = new Httpd(state, block)
  try {
    await httpd.start()
    return httpd
  } catch (error) {
    await httpd.stop()
    throw error
  }
}
