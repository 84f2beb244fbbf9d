/** The server stores behind proxies that can be told to misbehave: for one mount alone, while the shared servers go on. */
import { startFaultProxy, type Fault, type FaultProxy } from '../servers/fault-proxy.js'
import { S3Client, SwiftClient, WebHdfsClient } from '../servers/clients.js'
import { freshBucket, freshContainer, freshDirectory, sharedServers } from '../servers/shared.js'
import type { PreparedStore, Store } from './store.js'

/** Mounted like any store; its end stops its proxies. */
export interface ProxiedStore extends Pick<Store, 'prepare'> {
  readonly name: string
  /** In the order in which a client meets them; a request of data goes through the last. */
  readonly proxies: readonly [FaultProxy, ...FaultProxy[]]
  /** Past the proxies, as another program. */
  put(name: string, data: string): Promise<unknown>
  names(): Promise<string[]>
}

function prepareOnce(
  type: string,
  options: Readonly<Record<string, string>>,
  proxies: readonly [FaultProxy, ...FaultProxy[]],
): () => Promise<PreparedStore> {
  const dispose = async (): Promise<void> => {
    await Promise.all(proxies.map((proxy) => proxy.stop()))
  }
  return () => Promise.resolve({ type, options, view: null, hostDirectory: null, dispose })
}

export async function proxiedCeph(): Promise<ProxiedStore> {
  const access = await freshBucket(await sharedServers().ceph())
  const proxy = await startFaultProxy(access.endpoint)
  const client = new S3Client(access)
  const { bucket, region, accessKeyId, secretAccessKey } = access
  const options = {
    ...{ endpoint: proxy.endpoint, bucket, region },
    ...{ access_key_id: accessKeyId, secret_access_key: secretAccessKey },
  }
  return {
    name: 's3',
    prepare: prepareOnce('s3', options, [proxy]),
    proxies: [proxy],
    put: (name, data) => client.put(name, data),
    names: () => client.keys(),
  }
}

export async function proxiedSwift(): Promise<ProxiedStore> {
  const access = await freshContainer(await sharedServers().swift())
  const proxy = await startFaultProxy(new URL(access.storageUrl).origin)
  const client = new SwiftClient(access)
  const { authUrl, user, key, container } = access
  const options = {
    auth_url: proxy.rewrite(authUrl),
    ...{ endpoint: proxy.rewrite(access.storageUrl), user, key, container },
  }
  return {
    name: 'swift',
    prepare: prepareOnce('swift', options, [proxy]),
    proxies: [proxy],
    put: (name, data) => client.put(name, data),
    names: () => client.names(),
  }
}

/** Ask `hdfsProblem` first. */
export async function proxiedHdfs(): Promise<ProxiedStore> {
  const access = await sharedServers().hdfs()
  const root = await freshDirectory(access)
  const { nameNode, httpEndpoint, dataNodeHttpEndpoint, user } = access
  const dataNode = await startFaultProxy(dataNodeHttpEndpoint)
  const redirects = [{ from: dataNodeHttpEndpoint, to: dataNode.endpoint }]
  const proxy = await startFaultProxy(httpEndpoint, { redirects })
  const client = new WebHdfsClient({ endpoint: httpEndpoint, user })
  const options = { name_node: nameNode, endpoint: proxy.endpoint, user, root }
  return {
    name: 'hdfs',
    prepare: prepareOnce('hdfs', options, [proxy, dataNode]),
    proxies: [proxy, dataNode],
    put: (name, data) => client.create(`${root}/${name}`, data),
    names: async () => (await client.tree(root)).filter((path) => !path.endsWith('/')),
  }
}

export function setFault({ proxies }: ProxiedStore, fault: Fault): void {
  for (const proxy of proxies) proxy.setFault(fault)
}

export async function heal({ proxies }: ProxiedStore): Promise<void> {
  await Promise.all(proxies.map((proxy) => proxy.heal()))
}

/** Nobody listens where the server was. */
export async function takeAway({ proxies }: ProxiedStore): Promise<void> {
  await Promise.all(proxies.map((proxy) => proxy.refuse()))
}
