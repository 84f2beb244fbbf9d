/**
 * The program that keeps the servers which the test files of one run share (see shared.ts). It starts each one when it is
 * first asked for, and ends with everything as soon as the process that owns the run is gone.
 *
 *     node shared-host.js SOCKET OWNER_PID OWNER_START_TIME
 */
import { createServer, type Socket } from 'node:net'
import { rmSync } from 'node:fs'
import path from 'node:path'
import { createInterface } from 'node:readline'
import { setTimeout as delay } from 'node:timers/promises'
import { startCeph } from './ceph.js'
import { startHdfs } from './hdfs.js'
import { startHttpd } from './httpd.js'
import { isRunning } from './process-id.js'
import type { SharedAnswer, SharedCeph, SharedHdfs, SharedHttpd, SharedKind, SharedSwift } from './shared.js'
import type { StorageServer } from './storage-server.js'
import { startSwift } from './swift.js'

const OWNER_POLL_MS = 100

const servers: StorageServer[] = []

function keep<T extends StorageServer>(server: T): T {
  servers.push(server)
  return server
}

async function startSharedCeph(): Promise<SharedCeph> {
  return keep(await startCeph()).access
}

async function startSharedSwift(): Promise<SharedSwift> {
  const { access, storageUrl, s3 } = keep(await startSwift())
  return { ...access, storageUrl, s3 }
}

async function startSharedHdfs(): Promise<SharedHdfs> {
  const { nameNode, httpEndpoint, dataNodeHttpEndpoint, user } = keep(await startHdfs())
  return { nameNode, httpEndpoint, dataNodeHttpEndpoint, user }
}

async function startSharedHttpd(): Promise<SharedHttpd> {
  const { davEndpoint, httpEndpoint, directory } = keep(await startHttpd())
  return { davEndpoint, httpEndpoint, directory }
}

const starters: Readonly<Record<SharedKind, () => Promise<unknown>>> = {
  ceph: startSharedCeph,
  swift: startSharedSwift,
  hdfs: startSharedHdfs,
  httpd: startSharedHttpd,
}

/** A start that failed is not tried again: it would only fail as slowly for every test file. */
const started = new Map<SharedKind, Promise<SharedAnswer>>()

function start(kind: SharedKind): Promise<SharedAnswer> {
  let answer = started.get(kind)
  if (answer === undefined) {
    answer = starters[kind]().then(
      (access) => ({ access }),
      (error: unknown) => ({ error: error instanceof Error ? error.message : String(error) }),
    )
    started.set(kind, answer)
  }
  return answer
}

function serve(client: Socket): void {
  // A test file that ends while it waits is no error here.
  client.on('error', () => client.destroy())
  createInterface({ input: client }).on('line', (line) => {
    void start(line as SharedKind).then((answer) => client.write(`${JSON.stringify(answer)}\n`))
  })
}

async function main(socketPath: string, pid: string, startTime: string): Promise<void> {
  const listener = createServer(serve)
  listener.listen(socketPath)
  while (isRunning({ pid: Number(pid), startTime })) await delay(OWNER_POLL_MS)
  listener.close()
  // One that is still starting stops with this process, and its directory goes with the next sweep.
  await Promise.all(servers.map((server) => server.stop()))
  rmSync(path.dirname(socketPath), { recursive: true, force: true })
  process.exit()
}

const [socketPath = '', pid = '', startTime = ''] = process.argv.slice(2)
await main(socketPath, pid, startTime)
