/**
 * Stores on real servers, one of each for a whole run of tests; every prepared store is a bucket, container or directory
 * of its own. What others see is asked by plain HTTP clients, not through the daemon.
 */
import { S3Client, SwiftClient, WebHdfsClient } from '../servers/clients.js'
import { hdfsProblem } from '../servers/hdfs.js'
import { freshBucket, freshContainer, freshDirectory, sharedServers } from '../servers/shared.js'
import {
  LINUX_PATH_MAX_BYTES,
  TRAILING_WHITE_SPACE,
  type Store,
  type StoreProperties,
  type StoreView,
} from './store.js'

const OBJECT_STORE: StoreProperties = {
  isServer: true,
  isShared: true,
  isObjectStore: true,
  refusedNames: TRAILING_WHITE_SPACE,
  // A key of 1024 bytes, less the "/" of a marker.
  maxPathBytes: 1023,
  // A page has 1000.
  manyEntries: 1100,
  mtimeUnitNs: null,
  refusesTimesBefore1970: false,
  copies: true,
}

export const cephStore: Store = {
  name: 's3',
  properties: OBJECT_STORE,
  problem: null,
  prepare: async () => {
    const access = await freshBucket(await sharedServers().ceph())
    const client = new S3Client(access)
    return {
      type: 's3',
      options: {
        endpoint: access.endpoint,
        bucket: access.bucket,
        region: access.region,
        access_key_id: access.accessKeyId,
        secret_access_key: access.secretAccessKey,
      },
      view: objectView({
        get: async (key) => (await client.get(key))?.data ?? null,
        put: (key, data) => client.put(key, data),
        delete: (key) => client.delete(key),
        keys: (prefix) => client.keys(prefix),
      }),
      hostDirectory: null,
      dispose: () => client.empty(),
    }
  },
}

export const swiftStore: Store = {
  name: 'swift',
  properties: {
    ...OBJECT_STORE,
    refusedNames: null,
    // A page has 10,000: the backend's own test fills one.
    manyEntries: 300,
  },
  problem: null,
  prepare: async () => {
    const access = await freshContainer(await sharedServers().swift())
    const client = new SwiftClient(access)
    return {
      type: 'swift',
      options: { auth_url: access.authUrl, user: access.user, key: access.key, container: access.container },
      view: objectView({
        get: async (key) => (await client.get(key))?.data ?? null,
        put: (key, data) => client.put(key, data),
        delete: (key) => client.delete(key),
        keys: (prefix) => client.names(prefix),
      }),
      hostDirectory: null,
      dispose: () => Promise.resolve(),
    }
  },
}

export const hdfsStore: Store = {
  name: 'hdfs',
  properties: {
    isServer: true,
    isShared: true,
    isObjectStore: false,
    refusedNames: /:|^\.snapshot$/,
    maxPathBytes: LINUX_PATH_MAX_BYTES,
    // A page has 1000.
    manyEntries: 1100,
    mtimeUnitNs: 1_000_000,
    refusesTimesBefore1970: true,
    copies: false,
  },
  problem: hdfsProblem(),
  prepare: async () => {
    const access = await sharedServers().hdfs()
    const root = await freshDirectory(access)
    const { nameNode, httpEndpoint, user } = access
    const client = new WebHdfsClient({ endpoint: httpEndpoint, user })
    return {
      type: 'hdfs',
      options: { name_node: nameNode, endpoint: httpEndpoint, user, root },
      view: hdfsView(client, root),
      hostDirectory: null,
      dispose: async () => {
        await client.delete(root, { recursive: true })
      },
    }
  },
}

interface ObjectClient {
  get(key: string): Promise<Buffer | null>
  put(key: string, data: string | Uint8Array): Promise<unknown>
  delete(key: string): Promise<void>
  keys(prefix: string): Promise<string[]>
}

function objectView(client: ObjectClient): StoreView {
  return {
    read: (path) => client.get(path),
    write: async (path, data) => {
      await client.put(path, data)
    },
    mkdir: async (path) => {
      await client.put(`${path}/`, '')
    },
    remove: (path) => client.delete(path),
    removeTree: async (path) => {
      await Promise.all((await client.keys(`${path}/`)).map((key) => client.delete(key)))
    },
    paths: async () => {
      const paths = new Set<string>()
      for (const key of await client.keys('')) {
        paths.add(key)
        for (let end = key.indexOf('/'); end >= 0; end = key.indexOf('/', end + 1))
          paths.add(key.slice(0, end + 1))
      }
      return [...paths].sort()
    },
  }
}

function hdfsView(client: WebHdfsClient, root: string): StoreView {
  let nextTemporary = 1
  return {
    read: (path) => client.read(`${root}/${path}`),
    write: async (path, data) => {
      const temporary = `${root}/.outside-${nextTemporary++}`
      await client.create(temporary, data)
      await client.request(
        'PUT',
        'RENAME',
        temporary,
        { destination: `${root}/${path}`, renameoptions: 'OVERWRITE' },
        [200],
      )
    },
    mkdir: async (path) => {
      await client.mkdirs(`${root}/${path}`)
    },
    remove: async (path) => {
      await client.delete(`${root}/${path}`)
    },
    removeTree: async (path) => {
      await client.delete(`${root}/${path}`, { recursive: true })
    },
    paths: () => client.tree(root),
  }
}
