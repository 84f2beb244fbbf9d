/**
 * OpenStack Swift on loopback, without root: one account, container, object and proxy server each, memcached, version 1
 * authentication by tempauth, and S3 by the s3api filter.
 */
import { execFileSync } from 'node:child_process'
import { randomBytes } from 'node:crypto'
import { mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { userInfo } from 'node:os'
import path from 'node:path'
import { SwiftClient, type S3Access, type SwiftAccess } from './clients.js'
import { packagedProgram, packagesLibraries, packagesRoot, projectRoot } from './locations.js'
import { memcachedCommand, storeForSwift } from './memcached.js'
import { portAt, reservePorts, type PortBlock } from './ports.js'
import { ServerProcess } from './server-process.js'
import { createStateDirectory, type StateDirectory } from './state-directory.js'
import { answers, LOOPBACK, type StorageServer } from './storage-server.js'
import {
  SWIFT_ACCOUNT,
  SWIFT_KEY,
  SWIFT_USER,
  swiftConfiguration,
  type SwiftPorts,
} from './swift-configuration.js'

const CONTAINER = 'test'
const DEVICE = 'd1'
const SCRIPT = path.join(projectRoot, 'test/servers/swift_server.py')
const LISTING_SCRIPT = path.join(projectRoot, 'test/servers/swift_listing.py')
const RESELLER_PREFIX = 'AUTH_'
const STORAGE_ACCOUNT = `${RESELLER_PREFIX}${SWIFT_ACCOUNT}`
/** Two seconds on an idle machine. */
const START_DEADLINE_MS = 90_000
const DEFAULT_TOKEN_LIFE_SECONDS = 86_400
/** Swift's own default: 5 GiB. */
const DEFAULT_MAX_FILE_SIZE_BYTES = 5 * 2 ** 30
/** MiB of memory for tokens and what is known of containers. */
const MEMCACHED_MIB = 16

const PYTHON_ENVIRONMENT = {
  LD_LIBRARY_PATH: packagesLibraries,
  PYTHONHOME: path.join(packagesRoot, 'usr'),
  PYTHONNOUSERSITE: '1',
  // The scripts lie in the source folder: no __pycache__ there.
  PYTHONDONTWRITEBYTECODE: '1',
  // Nothing is looked up by name, and the import is quicker without.
  EVENTLET_NO_GREENDNS: 'yes',
}

export interface SwiftOptions {
  /** For how long a token is good. A day if left out; whole seconds. */
  readonly tokenLifeSeconds?: number
  /** Objects and segments larger than this are refused. */
  readonly maxFileSizeBytes?: number
}

/** `kill` and `restart` are those of Swift's four servers; the data is on disk and memcached lives on. */
export class Swift implements SwiftAccess, StorageServer {
  readonly authUrl: string
  /** `http://host:port/v1/AUTH_test`: the endpoint that clients with a token use. */
  readonly storageUrl: string
  readonly user = `${SWIFT_ACCOUNT}:${SWIFT_USER}`
  readonly key = SWIFT_KEY
  readonly container = CONTAINER
  /** The same containers through S3. */
  readonly s3: S3Access
  readonly #state: StateDirectory
  readonly #block: PortBlock
  readonly #ports: SwiftPorts
  #memcached: ServerProcess | null = null
  #servers: ServerProcess | null = null

  /** By {@link startSwift} only. */
  constructor(state: StateDirectory, block: PortBlock) {
    this.#state = state
    this.#block = block
    const [proxy, object, container, account, memcached] = [0, 1, 2, 3, 4].map((i) => portAt(block, i))
    this.#ports = {
      ...{ proxy: proxy ?? 0, object: object ?? 0, container: container ?? 0 },
      ...{ account: account ?? 0, memcached: memcached ?? 0 },
    }
    const endpoint = `http://${LOOPBACK}:${this.#ports.proxy}`
    this.authUrl = `${endpoint}/auth/v1.0`
    this.storageUrl = `${endpoint}/v1/${STORAGE_ACCOUNT}`
    this.s3 = {
      ...{ endpoint, accessKeyId: this.user, secretAccessKey: this.key },
      ...{ bucket: CONTAINER, region: 'us-east-1' },
    }
  }

  /** By {@link startSwift} only. */
  async start(options: SwiftOptions): Promise<void> {
    const directory = this.#state.path
    mkdirSync(path.join(directory, 'srv', DEVICE), { recursive: true })
    const files = swiftConfiguration({
      ...{ directory, ports: this.#ports },
      tokenLifeSeconds: options.tokenLifeSeconds ?? DEFAULT_TOKEN_LIFE_SECONDS,
      maxFileSizeBytes: options.maxFileSizeBytes ?? DEFAULT_MAX_FILE_SIZE_BYTES,
    })
    for (const [name, text] of Object.entries(files)) writeFileSync(path.join(directory, name), text)
    const { memcached } = this.#ports
    const memory = ['-m', String(MEMCACHED_MIB)]
    this.#memcached = this.#spawn('memcached', 'memcached', [
      ...['-l', LOOPBACK, '-p', String(memcached), '-U', '0', '-u', userInfo().username],
      ...memory,
    ])
    await this.restart()
    await new SwiftClient(this).createContainer()
  }

  /** What clients need, as a plain object. */
  get access(): SwiftAccess {
    const { authUrl, user, key, container } = this
    return { authUrl, user, key, container }
  }

  /** A token that Swift takes for the account's owner, for `lifeSeconds`: for another way to log in. */
  async issueToken(lifeSeconds: number): Promise<string> {
    const token = `${RESELLER_PREFIX}tk${randomBytes(16).toString('hex')}`
    const groups = [SWIFT_ACCOUNT, this.user, STORAGE_ACCOUNT].join(',')
    const entry = [Date.now() / 1000 + lifeSeconds, groups]
    await storeForSwift(
      LOOPBACK,
      this.#ports.memcached,
      `${RESELLER_PREFIX}/token/${token}`,
      entry,
      lifeSeconds,
    )
    return token
  }

  /** Forget every token: whoever has one gets 401 from now on and must log in again. */
  async revokeTokens(): Promise<void> {
    const answer = await memcachedCommand(LOOPBACK, this.#ports.memcached, 'flush_all')
    if (answer !== 'OK') throw new Error(`memcached did not forget: ${answer}`)
  }

  /** Entries of the container's listing with no object behind: what thousands of PUTs would take minutes for. */
  putListedObjects(names: readonly string[]): void {
    execFileSync(packagedProgram('python3'), [LISTING_SCRIPT, this.#state.path, this.container], {
      env: { ...process.env, ...PYTHON_ENVIRONMENT },
      input: JSON.stringify(names),
    })
  }

  async kill(): Promise<void> {
    await this.#servers?.stop()
    this.#servers = null
  }

  async restart(): Promise<void> {
    await this.kill()
    const pidFile = path.join(this.#state.path, 'pids')
    rmSync(pidFile, { force: true })
    const { proxy, object, container, account } = this.#ports
    const ringArguments = [DEVICE, LOOPBACK, ...[object, container, account].map(String)]
    const servers = this.#spawn('swift', 'python3', [SCRIPT, this.#state.path, ...ringArguments])
    this.#servers = servers
    for (const port of [account, container, object, proxy]) {
      const url = `http://${LOOPBACK}:${port}/healthcheck`
      await servers.untilReady(`answers at ${url}`, START_DEADLINE_MS, () => answers(url))
    }
    for (const line of readFileSync(pidFile, 'utf8').trimEnd().split('\n')) {
      servers.addDescendant(Number(line.split(' ')[1]))
    }
  }

  async stop(): Promise<void> {
    await Promise.all([this.kill(), this.#memcached?.stop()])
    this.#memcached = null
    this.#block.release()
    this.#state.remove()
  }

  #spawn(name: string, program: string, args: readonly string[]): ServerProcess {
    return new ServerProcess({
      ...{ name, args, command: packagedProgram(program) },
      environment: PYTHON_ENVIRONMENT,
      logDirectory: path.join(this.#state.path, 'log'),
    })
  }
}

/** Start a Swift of its own for the caller, with one empty container. */
export async function startSwift(options: SwiftOptions = {}): Promise<Swift> {
  const block = await reservePorts()
  const state = createStateDirectory('swift', ['log'])
  const swift = new Swift(state, block)
  try {
    await swift.start(options)
    return swift
  } catch (error) {
    await swift.stop()
    throw error
  }
}
