/**
 * Ceph on loopback, without root: a monitor, one OSD that keeps its objects in memory, and the S3 gateway. Where most
 * set-ups start the monitor first and then tell it of the OSD, the keys and the first OSD map are made beforehand, so
 * that all start at once and no command-line tool has to be waited for.
 */
import { randomUUID } from 'node:crypto'
import { writeFileSync } from 'node:fs'
import path from 'node:path'
import { cephConfiguration, cephKeyring } from './ceph-configuration.js'
import { S3Client, type S3Access } from './clients.js'
import { packagedProgram, packagesLibraries } from './locations.js'
import { portAt, reservePorts, type PortBlock } from './ports.js'
import { ServerProcess } from './server-process.js'
import { createStateDirectory, type StateDirectory } from './state-directory.js'
import { answers, LOOPBACK, type StorageServer } from './storage-server.js'

const ACCESS_KEY_ID = 'tester'
const SECRET_ACCESS_KEY = 'testing'
const BUCKET = 'test'
/** The name that radosgw has for its only zone group's region. */
const REGION = 'us-east-1'
/** A tool takes a second, on a busy machine several. */
const TOOL_DEADLINE_MS = 60_000
/** Two seconds on an idle machine. */
const START_DEADLINE_MS = 90_000

export interface CephOptions {
  /** What the OSD takes for the size of its memory: a full OSD refuses writes. 4 GiB if left out. */
  readonly memoryBytes?: number
}

const DEFAULT_MEMORY_BYTES = 4 * 2 ** 30

/** S3 by Ceph's radosgw. `kill` and `restart` are those of the gateway; the OSD, whose data is in memory, lives on. */
export class Ceph implements S3Access, StorageServer {
  readonly endpoint: string
  readonly accessKeyId = ACCESS_KEY_ID
  readonly secretAccessKey = SECRET_ACCESS_KEY
  readonly bucket = BUCKET
  readonly region = REGION
  readonly #state: StateDirectory
  readonly #ports: PortBlock
  readonly #environment: Readonly<Record<string, string>>
  /** Monitor and OSD. */
  readonly #cluster: ServerProcess[] = []
  #gateway: ServerProcess | null = null
  #tools = 0

  /** By {@link startCeph} only. */
  constructor(state: StateDirectory, ports: PortBlock) {
    this.#state = state
    this.#ports = ports
    this.endpoint = `http://${LOOPBACK}:${portAt(ports, 0)}`
    this.#environment = {
      CEPH_CONF: path.join(state.path, 'ceph.conf'),
      LD_LIBRARY_PATH: `${packagesLibraries}:${packagesLibraries}/ceph`,
    }
  }

  /** By {@link startCeph} only. */
  async start(options: CephOptions): Promise<void> {
    const fsid = randomUUID()
    const directory = this.#state.path
    const [, monitorPort, ...osdPorts] = this.#ports.ports
    const monitorAddress = `[v2:${LOOPBACK}:${monitorPort ?? 0}]`
    const inDirectory = (name: string) => path.join(directory, name)
    writeFileSync(
      inDirectory('ceph.conf'),
      cephConfiguration({
        ...{ directory, fsid, monitorAddress, libraries: packagesLibraries },
        gatewayAddress: `${LOOPBACK}:${portAt(this.#ports, 0)}`,
        firstOsdPort: osdPorts[0] ?? 0,
        lastOsdPort: osdPorts.at(-1) ?? 0,
        memoryBytes: options.memoryBytes ?? DEFAULT_MEMORY_BYTES,
      }),
    )
    writeFileSync(inDirectory('keyring'), cephKeyring(), { mode: 0o600 })
    const [monmap, osdmap] = [inDirectory('monmap'), inDirectory('osdmap')]
    await this.#run('monmaptool', '--create', '--addv', 'a', monitorAddress, '--fsid', fsid, monmap)
    await this.#run('osdmaptool', '--createsimple', '1', osdmap)
    const maps = ['--monmap', monmap, '--osdmap', osdmap, '--keyring', inDirectory('keyring')]
    await this.#run('ceph-mon', '-i', 'a', '--mkfs', ...maps)
    this.#cluster.push(this.#spawn('ceph-mon', '-i', 'a', '-f'))
    await this.#run('ceph-osd', '-i', '0', '--mkfs')
    this.#cluster.push(this.#spawn('ceph-osd', '-i', '0', '-f'))
    const user = ['--uid', 'tester', '--display-name', 'tester']
    const keys = ['--access-key', ACCESS_KEY_ID, '--secret', SECRET_ACCESS_KEY]
    await this.admin('user', 'create', ...user, ...keys)
    await this.restart()
    await new S3Client(this).createBucket()
  }

  /** What clients need, as a plain object. */
  get access(): S3Access {
    const { endpoint, accessKeyId, secretAccessKey, bucket, region } = this
    return { endpoint, accessKeyId, secretAccessKey, bucket, region }
  }

  /** Run radosgw-admin, for example to set a quota. */
  async admin(...args: readonly string[]): Promise<void> {
    await this.#run('radosgw-admin', ...args)
  }

  async kill(): Promise<void> {
    await this.#gateway?.stop()
    this.#gateway = null
  }

  async restart(): Promise<void> {
    await this.kill()
    const gateway = this.#spawn('radosgw', '-n', 'client.rgw.a', '-f')
    this.#gateway = gateway
    try {
      await gateway.untilReady(`answers at ${this.endpoint}`, START_DEADLINE_MS, () => answers(this.endpoint))
    } catch (error) {
      throw this.#explain(error)
    }
  }

  async stop(): Promise<void> {
    const servers = this.#gateway === null ? this.#cluster : [this.#gateway, ...this.#cluster]
    await Promise.all(servers.map((server) => server.stop()))
    this.#gateway = null
    this.#ports.release()
    this.#state.remove()
  }

  async #run(program: string, ...args: readonly string[]): Promise<void> {
    try {
      await this.#spawnAs(`${program}-${++this.#tools}`, program, args).untilDone(TOOL_DEADLINE_MS)
    } catch (error) {
      throw this.#explain(error)
    }
  }

  #spawn(program: string, ...args: readonly string[]): ServerProcess {
    return this.#spawnAs(program, program, args)
  }

  #spawnAs(name: string, program: string, args: readonly string[]): ServerProcess {
    return new ServerProcess({
      ...{ name, args, command: packagedProgram(program) },
      environment: this.#environment,
      logDirectory: path.join(this.#state.path, 'log'),
    })
  }

  /** When something waits in vain, the reason may be in another one's log. */
  #explain(error: unknown): Error {
    const message = error instanceof Error ? error.message : String(error)
    return new Error([message, ...this.#cluster.map((server) => server.tail())].join('\n'))
  }
}

/** Start a cluster of its own for the caller, with one empty bucket. */
export async function startCeph(options: CephOptions = {}): Promise<Ceph> {
  const ports = await reservePorts()
  const state = createStateDirectory('ceph', ['log', 'run', 'osd', 'mon'])
  const ceph = new Ceph(state, ports)
  try {
    await ceph.start(options)
    return ceph
  } catch (error) {
    await ceph.stop()
    throw error
  }
}
