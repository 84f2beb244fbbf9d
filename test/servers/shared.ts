/**
 * The servers that all test files of a run share. Starting one takes seconds, and `node --test` runs each file in a process
 * of its own; so the first file that needs a server starts a host process that keeps it (shared-host.ts), and the others
 * find that.
 *
 *     const ceph = await sharedServers().ceph()   // { endpoint, accessKeyId, secretAccessKey, bucket, region }
 *     const bucket = await freshBucket(ceph)      // of this test alone
 *
 * The owner of a run is the process OVFSD_TEST_RUN names by its id; without it, the `node --test` that started this file;
 * without that, this process. The servers end with it. Nobody may stop or break a shared server: a test that wants to
 * starts one of its own, or breaks the way to it with a FaultProxy.
 */
import { spawn } from 'node:child_process'
import { randomUUID } from 'node:crypto'
import { closeSync, mkdirSync, openSync, rmSync } from 'node:fs'
import { connect, type Socket } from 'node:net'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { createInterface } from 'node:readline'
import { once } from 'node:events'
import { fileURLToPath } from 'node:url'
import {
  S3Client,
  SwiftClient,
  WebdavClient,
  WebHdfsClient,
  type S3Access,
  type SwiftAccess,
} from './clients.js'
import { hdfsProblem } from './hdfs.js'
import { identityOf, type ProcessIdentity } from './process-id.js'
import { logTail } from './server-process.js'
import { waitUntil } from './wait.js'

export type SharedKind = 'ceph' | 'swift' | 'hdfs' | 'httpd'
/** What the host answers, a line of JSON. */
export type SharedAnswer = { readonly access: unknown } | { readonly error: string }

export type SharedCeph = S3Access
export interface SharedSwift extends SwiftAccess {
  readonly storageUrl: string
  readonly s3: S3Access
}
export interface SharedHdfs {
  readonly nameNode: string
  readonly httpEndpoint: string
  readonly dataNodeHttpEndpoint: string
  readonly user: string
}

export interface SharedHttpd {
  readonly davEndpoint: string
  readonly httpEndpoint: string
  /** What it serves, on the host. */
  readonly directory: string
}

const HOST_SCRIPT = fileURLToPath(new URL('./shared-host.js', import.meta.url))
/** Only Node.js itself has to start. */
const HOST_DEADLINE_MS = 60_000

/** Access to each server, which is started if this run has not yet. */
export interface SharedServers {
  ceph(): Promise<SharedCeph>
  swift(): Promise<SharedSwift>
  /** Ask {@link hdfsProblem} first. */
  hdfs(): Promise<SharedHdfs>
  httpd(): Promise<SharedHttpd>
}

const asked = new Map<SharedKind, Promise<unknown>>()

export function sharedServers(): SharedServers {
  const of = (kind: SharedKind): Promise<unknown> => {
    const access = asked.get(kind) ?? ask(kind)
    asked.set(kind, access)
    return access
  }
  return {
    ceph: () => of('ceph') as Promise<SharedCeph>,
    swift: () => of('swift') as Promise<SharedSwift>,
    hdfs: () => of('hdfs') as Promise<SharedHdfs>,
    httpd: () => of('httpd') as Promise<SharedHttpd>,
  }
}

/** A new, empty bucket. */
export async function freshBucket(access: S3Access): Promise<S3Access> {
  const client = new S3Client(access).withBucket(`test-${randomUUID()}`)
  await client.createBucket()
  return client.access
}

/** A new, empty container. */
export async function freshContainer<T extends SwiftAccess>(access: T): Promise<T> {
  const container = `test-${randomUUID()}`
  await new SwiftClient(access).withContainer(container).createContainer()
  return { ...access, container }
}

/** A new, empty directory: its absolute path. */
export async function freshDirectory(access: SharedHdfs): Promise<string> {
  const directory = `/test-${randomUUID()}`
  await new WebHdfsClient({ endpoint: access.httpEndpoint, user: access.user }).mkdirs(directory)
  return directory
}

/** A new, empty directory by WebDAV: its absolute path there. */
export async function freshCollection(access: SharedHttpd): Promise<string> {
  const root = `/test-${randomUUID()}`
  await new WebdavClient(access.davEndpoint).mkdir(`${root}/`)
  return root
}

async function ask(kind: SharedKind): Promise<unknown> {
  const problem = kind === 'hdfs' ? hdfsProblem() : null
  if (problem !== null) throw new Error(problem)
  const host = await connectToHost()
  host.write(`${kind}\n`)
  const lines = createInterface({ input: host })
  const [line] = (await Promise.race([once(lines, 'line'), once(lines, 'close')])) as [string?]
  host.destroy()
  if (line === undefined) throw new Error(`the host of the shared servers ended\n${logTail(logFile())}`)
  const answer = JSON.parse(line) as SharedAnswer
  if ('error' in answer) throw new Error(answer.error)
  return answer.access
}

async function connectToHost(): Promise<Socket> {
  const directory = runDirectory()
  if (makeDirectory(directory)) spawnHost()
  const socketPath = path.join(directory, 'socket')
  let host: Socket | undefined
  try {
    await waitUntil('the host of the shared servers', HOST_DEADLINE_MS, async () => {
      host = await tryConnect(socketPath)
      return true
    })
  } catch (error) {
    // So that the next try does not wait for a host that will never be.
    rmSync(directory, { recursive: true, force: true })
    throw new Error(`${error instanceof Error ? error.message : String(error)}\n${logTail(logFile())}`)
  }
  if (host === undefined) throw new Error('no connection to the host of the shared servers')
  return host
}

/** False when it is there: another file of this run starts the host. */
function makeDirectory(directory: string): boolean {
  try {
    mkdirSync(directory, { mode: 0o700 })
    return true
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'EEXIST') return false
    throw error
  }
}

/** The host must outlive this file, and hold none of its pipes: `node --test` waits until they are closed. */
function spawnHost(): void {
  const { pid, startTime } = runOwner()
  const log = openSync(logFile(), 'a')
  const socketPath = path.join(runDirectory(), 'socket')
  spawn(process.execPath, [HOST_SCRIPT, socketPath, String(pid), startTime], {
    detached: true,
    stdio: ['ignore', log, log],
    // Otherwise the host would take itself for a test file.
    env: { ...process.env, NODE_TEST_CONTEXT: undefined },
  }).unref()
  closeSync(log)
}

function runDirectory(): string {
  const { pid, startTime } = runOwner()
  // The same form as a server's own directory, so that it is swept like one.
  return path.join(tmpdir(), `ovfsd-server-shared-${pid}-${startTime}-run`)
}

function logFile(): string {
  return path.join(runDirectory(), 'log')
}

function runOwner(): ProcessIdentity {
  const named = Number(process.env.OVFSD_TEST_RUN)
  const isTestFile = process.env.NODE_TEST_CONTEXT?.startsWith('child') === true
  const pid = named > 0 ? named : isTestFile ? process.ppid : process.pid
  const owner = identityOf(pid)
  if (owner === null) throw new Error(`the process that owns this test run, ${pid}, is gone`)
  return owner
}

async function tryConnect(socketPath: string): Promise<Socket> {
  const socket = connect(socketPath)
  await once(socket, 'connect')
  return socket
}
