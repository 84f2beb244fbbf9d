/** The storage servers that a guest's mounts lie on: each with a plain way to it, and one through a proxy that can break. */
import { S3Client, SwiftClient, WebHdfsClient } from '../servers/clients.js'
import { startCeph } from '../servers/ceph.js'
import { startFaultProxy, type FaultProxy } from '../servers/fault-proxy.js'
import { startHdfs, type Hdfs } from '../servers/hdfs.js'
import { freshBucket, freshContainer } from '../servers/shared.js'
import type { StorageServer } from '../servers/storage-server.js'
import { startSwift } from '../servers/swift.js'
import type { Profile } from './daemon.js'
import type { StoreView } from '../support/store.js'
import { hdfsView, pathsBelow, s3View, swiftView } from '../support/views.js'

/** A deadline that a busy machine keeps, and that a test can wait for three times: of one try of a call through a proxy. */
const PROXIED_TIMEOUT = '4s'
/** What others do shows to the guest after so long at the latest. */
const PROXIED_EXPIRATION = '1s'

/** One mount of a storage. */
export interface StorageMount {
  readonly profile: Profile
  /** Somebody else's access to what the mount shows. */
  readonly outside: StoreView
}

export interface RunningStorage {
  readonly server: StorageServer
  readonly plain: StorageMount
  /** Another place on the same server, by way of `proxies`. */
  readonly proxied: StorageMount
  readonly proxies: readonly FaultProxy[]
  /** The requests that move what is in a directory `tree` to one named `moved`. */
  readonly moves: { readonly method: string; readonly target: RegExp }
  /** What the proxied mount has left in its storage that no name leads to, and that nobody will remove. */
  orphans(): Promise<string[]>
  stop(): Promise<void>
}

/** Options of a profile whose way to its store can be broken. */
function proxiedProfile(type: string, options: Readonly<Record<string, string>>): Profile {
  const mountPoint = proxiedMountPoint(type)
  return {
    ...{ type, mount_point: mountPoint, ...options },
    ...{ timeout: PROXIED_TIMEOUT, cache_expiration_time: PROXIED_EXPIRATION },
  }
}

export const plainMountPoint = (type: string): string => `${type}_fs`
export const proxiedMountPoint = (type: string): string => `${type}_proxied`

export async function startS3(): Promise<RunningStorage> {
  const server = await startCeph()
  const proxy = await startFaultProxy(server.endpoint)
  const other = await freshBucket(server.access)
  const client = new S3Client(other)
  const options = (bucket: string, endpoint: string): Record<string, string> => ({
    ...{ bucket, endpoint, region: server.region },
    ...{ access_key_id: server.accessKeyId, secret_access_key: server.secretAccessKey },
  })
  return {
    server,
    plain: {
      profile: { type: 's3', mount_point: plainMountPoint('s3'), ...options(server.bucket, server.endpoint) },
      outside: s3View(new S3Client(server.access)),
    },
    proxied: {
      profile: proxiedProfile('s3', options(other.bucket, proxy.endpoint)),
      outside: s3View(client),
    },
    proxies: [proxy],
    moves: { method: 'PUT', target: /\/moved\/./ },
    orphans: async () => (await client.keys('.ovfsd/')).filter((key) => key !== '.ovfsd/'),
    stop: () => stopAll(server, [proxy]),
  }
}

export async function startSwiftStorage(): Promise<RunningStorage> {
  const server = await startSwift()
  const proxy = await startFaultProxy(new URL(server.storageUrl).origin)
  const other = await freshContainer(server.access)
  const client = new SwiftClient(other)
  const login = { user: server.user, key: server.key }
  return {
    server,
    plain: {
      profile: {
        ...{ type: 'swift', mount_point: plainMountPoint('swift'), ...login },
        ...{ auth_url: server.authUrl, container: server.container },
      },
      outside: swiftView(new SwiftClient(server.access)),
    },
    proxied: {
      profile: proxiedProfile('swift', {
        ...{ ...login, auth_url: proxy.rewrite(server.authUrl), endpoint: proxy.rewrite(server.storageUrl) },
        container: other.container,
      }),
      outside: swiftView(client),
    },
    proxies: [proxy],
    moves: { method: 'PUT', target: /\/moved\/./ },
    orphans: async () => {
      const left: string[] = []
      for (const name of await client.names('.ovfsd/')) {
        if (name === '.ovfsd/') continue
        const head = await client.request('HEAD', { object: name, expect: [200, 404] })
        // The server removes by itself what has a date for it.
        if (head.status === 200 && head.headers['x-delete-at'] === undefined) left.push(name)
      }
      return left
    },
    stop: () => stopAll(server, [proxy]),
  }
}

export interface HdfsStorage extends RunningStorage {
  readonly server: Hdfs
  /** Absolute path of the proxied mount's root. */
  readonly proxiedRoot: string
}

export async function startHdfsStorage(): Promise<HdfsStorage> {
  const server = await startHdfs()
  const dataNode = await startFaultProxy(server.dataNodeHttpEndpoint)
  const nameNode = await startFaultProxy(server.httpEndpoint, {
    redirects: [{ from: server.dataNodeHttpEndpoint, to: dataNode.endpoint }],
  })
  const client = new WebHdfsClient({ endpoint: server.httpEndpoint, user: server.user })
  const [plainRoot, proxiedRoot] = ['/plain', '/proxied'] as const
  for (const root of [plainRoot, proxiedRoot]) await client.mkdirs(root)
  const options = { name_node: server.nameNode, user: server.user }
  const proxied = hdfsView(client, proxiedRoot)
  return {
    server,
    plain: {
      profile: {
        ...{ type: 'hdfs', mount_point: plainMountPoint('hdfs'), ...options },
        ...{ endpoint: server.httpEndpoint, root: plainRoot },
      },
      outside: hdfsView(client, plainRoot),
    },
    proxied: {
      profile: proxiedProfile('hdfs', { ...options, endpoint: nameNode.endpoint, root: proxiedRoot }),
      outside: proxied,
    },
    proxiedRoot,
    proxies: [nameNode, dataNode],
    moves: { method: 'PUT', target: /op=RENAME.*moved/ },
    orphans: () => pathsBelow(proxied, '.ovfsd'),
    stop: () => stopAll(server, [nameNode, dataNode]),
  }
}

async function stopAll(server: StorageServer, proxies: readonly FaultProxy[]): Promise<void> {
  await Promise.all(proxies.map((proxy) => proxy.stop()))
  await server.stop()
}
