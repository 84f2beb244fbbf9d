/** The server stores behind proxies that can be told to misbehave: for one mount alone, while the shared servers go on. */
import { startFaultProxy, type Fault, type FaultProxy } from '../servers/fault-proxy.js'
import { sharedServers } from '../servers/shared.js'
import { cephStore, hdfsStore, swiftStore } from './server-stores.js'
import type { PreparedStore, Store, StoreView } from './store.js'

/** Mounted like any store; its end stops its proxies. */
export interface ProxiedStore extends Pick<Store, 'name' | 'prepare'> {
  /** In the order in which a client meets them; a request of data goes through the last. */
  readonly proxies: readonly [FaultProxy, ...FaultProxy[]]
  /** Past the proxies, as another program. */
  readonly view: StoreView
}

export function proxiedCeph(): Promise<ProxiedStore> {
  return behind(cephStore, async ({ options }) => {
    const proxy = await startFaultProxy(options['endpoint'] ?? '')
    return { proxies: [proxy], options: { endpoint: proxy.endpoint } }
  })
}

export function proxiedSwift(): Promise<ProxiedStore> {
  return behind(swiftStore, async ({ options }) => {
    const authUrl = options['auth_url'] ?? ''
    const proxy = await startFaultProxy(new URL(authUrl).origin)
    // Swift names its storage by the address that it was asked by.
    return { proxies: [proxy], options: { auth_url: proxy.rewrite(authUrl) } }
  })
}

/** Ask `hdfsProblem` first. */
export function proxiedHdfs(): Promise<ProxiedStore> {
  return behind(hdfsStore, async ({ options }) => {
    const { dataNodeHttpEndpoint } = await sharedServers().hdfs()
    const dataNode = await startFaultProxy(dataNodeHttpEndpoint)
    const redirects = [{ from: dataNodeHttpEndpoint, to: dataNode.endpoint }]
    const proxy = await startFaultProxy(options['endpoint'] ?? '', { redirects })
    return { proxies: [proxy, dataNode], options: { endpoint: proxy.endpoint } }
  })
}

interface Front {
  readonly proxies: readonly [FaultProxy, ...FaultProxy[]]
  /** In place of the store's own. */
  readonly options: Readonly<Record<string, string>>
}

async function behind(
  store: Store,
  start: (prepared: PreparedStore) => Promise<Front>,
): Promise<ProxiedStore> {
  const prepared = await store.prepare()
  const { view } = prepared
  if (view === null) throw new Error(`nobody else can see into ${store.name}`)
  const { proxies, options } = await start(prepared)
  const proxied = {
    ...prepared,
    options: { ...prepared.options, ...options },
    dispose: async () => {
      await Promise.all(proxies.map((proxy) => proxy.stop()))
      await prepared.dispose()
    },
  }
  return { name: store.name, prepare: () => Promise.resolve(proxied), proxies, view }
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
