/** Object stores on the servers of the run, and another client's view of what is kept beside their contents. */
import { freshBucket, freshContainer, sharedServers } from '../servers/shared.js'
import { S3Client, SwiftClient, type S3Access } from '../servers/clients.js'
import type { PreparedStore, Store } from './store.js'

export interface ObjectStore extends Pick<Store, 'prepare'> {
  readonly type: 's3' | 'swift'
  /** OpenDAL's own options. */
  readonly options: Readonly<Record<string, string>>
  /** The object's user metadata, by names in lower case; null when there is no such object. A directory's name ends in "/". */
  metadata(name: string): Promise<Readonly<Record<string, string>> | null>
  contents(name: string): Promise<Buffer | null>
  contentType(name: string): Promise<string | undefined>
  put(
    name: string,
    data: string | Uint8Array,
    metadata?: Record<string, string>,
    headers?: Record<string, string>,
  ): Promise<void>
  remove(name: string): Promise<void>
  names(): Promise<string[]>
}

export function s3Options(access: S3Access): Record<string, string> {
  const { endpoint, bucket, region, accessKeyId, secretAccessKey } = access
  return { endpoint, bucket, region, access_key_id: accessKeyId, secret_access_key: secretAccessKey }
}

/** A new, empty one. It may be mounted again and again: nothing is removed with its mounts. */
export async function freshObjectStore(type: ObjectStore['type']): Promise<ObjectStore> {
  return type === 's3' ? freshS3() : freshSwift()
}

async function freshS3(): Promise<ObjectStore> {
  const access = await freshBucket(await sharedServers().ceph())
  const client = new S3Client(access)
  const options = s3Options(access)
  return {
    ...{ type: 's3', options },
    prepare: () => Promise.resolve(prepared('s3', options)),
    metadata: async (name) => (await client.head(name))?.metadata ?? null,
    contents: async (name) => (await client.get(name))?.data ?? null,
    contentType: async (name) => (await client.head(name))?.contentType,
    put: async (name, data, metadata = {}, headers = {}) => {
      await client.put(name, data, { metadata, headers })
    },
    remove: (name) => client.delete(name),
    names: () => client.keys(),
  }
}

async function freshSwift(): Promise<ObjectStore> {
  const access = await freshContainer(await sharedServers().swift())
  const client = new SwiftClient(access)
  const options = {
    ...{ auth_url: access.authUrl, user: access.user, key: access.key },
    container: access.container,
  }
  return {
    ...{ type: 'swift', options },
    prepare: () => Promise.resolve(prepared('swift', options)),
    metadata: async (name) => (await client.head(name))?.metadata ?? null,
    contents: async (name) => (await client.get(name))?.data ?? null,
    contentType: async (name) => (await client.head(name))?.contentType,
    put: async (name, data, metadata = {}, headers = {}) => {
      await client.put(name, data, { metadata, headers })
    },
    remove: (name) => client.delete(name),
    names: () => client.names(),
  }
}

function prepared(type: string, options: Readonly<Record<string, string>>): PreparedStore {
  return { type, options, view: null, hostDirectory: null, dispose: () => Promise.resolve() }
}
