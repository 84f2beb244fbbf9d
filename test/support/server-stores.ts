/**
 * Stores on real servers, one of each for a whole run of tests; every prepared store is a bucket, container or directory
 * of its own. What others see is asked by plain HTTP clients, not through the daemon.
 */
import { join } from 'node:path'
import { S3Client, SwiftClient, WebdavClient, WebHdfsClient } from '../servers/clients.js'
import { hdfsProblem } from '../servers/hdfs.js'
import {
  freshBucket,
  freshCollection,
  freshContainer,
  freshDirectory,
  sharedServers,
} from '../servers/shared.js'
import { LINUX_PATH_MAX_BYTES, TRAILING_WHITE_SPACE, type Store, type StoreProperties } from './store.js'
import { hdfsView, s3View, swiftView, webdavView } from './views.js'

const OBJECT_STORE: StoreProperties = {
  isServer: true,
  isShared: true,
  isObjectStore: true,
  restoresDirectories: true,
  refusedNames: null,
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
      view: s3View(client),
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
      view: swiftView(client),
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
    restoresDirectories: false,
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

export const webdavStore: Store = {
  name: 'webdav',
  properties: {
    isServer: true,
    isShared: true,
    isObjectStore: false,
    restoresDirectories: true,
    refusedNames: TRAILING_WHITE_SPACE,
    maxPathBytes: 2048,
    // A listing has no pages.
    manyEntries: 300,
    mtimeUnitNs: null,
    refusesTimesBefore1970: false,
    copies: true,
  },
  problem: null,
  prepare: async () => {
    const access = await sharedServers().httpd()
    const root = await freshCollection(access)
    const client = new WebdavClient(access.davEndpoint)
    return {
      type: 'webdav',
      options: { endpoint: access.davEndpoint, root },
      view: webdavView(client, root, join(access.directory, root)),
      hostDirectory: null,
      dispose: () => client.delete(`${root}/`),
    }
  },
}
