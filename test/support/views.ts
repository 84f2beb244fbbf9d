/** What others see of the storage of a mount, and how they change it. */
import { mkdir, readdir, readFile, rename, rm, unlink, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import type { S3Client, SwiftClient, WebdavClient, WebHdfsClient } from '../servers/clients.js'
import type { StoreView } from './store.js'

/** The paths below a directory, relative to it, sorted. */
export async function pathsBelow(view: StoreView, directory: string): Promise<string[]> {
  const prefix = `${directory}/`
  return (await view.paths())
    .filter((path) => path.startsWith(prefix) && path !== prefix)
    .map((path) => path.slice(prefix.length))
}

/** A directory of the host. */
export function directoryView(root: string): StoreView {
  let nextTemporary = 1
  return {
    read: async (path) => {
      try {
        return await readFile(join(root, path))
      } catch (error) {
        if ((error as NodeJS.ErrnoException).code === 'ENOENT') return null
        throw error
      }
    },
    write: async (path, data) => {
      const temporary = join(root, `.outside-${nextTemporary++}`)
      await writeFile(temporary, data)
      await rename(temporary, join(root, path))
    },
    mkdir: async (path) => {
      await mkdir(join(root, path))
    },
    remove: (path) => unlink(join(root, path)),
    removeTree: (path) => rm(join(root, path), { recursive: true }),
    paths: () => pathsInDirectory(root),
  }
}

async function pathsInDirectory(root: string): Promise<string[]> {
  const entries = await readdir(root, { recursive: true, withFileTypes: true })
  return entries
    .map((entry) => {
      const path = join(entry.parentPath, entry.name).slice(root.length + 1)
      return entry.isDirectory() ? `${path}/` : path
    })
    .sort()
}

/**
 * @param root absolute path of the mount's root on the server
 * @param directory the same on the host
 */
export function webdavView(client: WebdavClient, root: string, directory: string): StoreView {
  return {
    read: (path) => client.get(`${root}/${path}`),
    write: (path, data) => client.put(`${root}/${path}`, data),
    mkdir: (path) => client.mkdir(`${root}/${path}/`),
    remove: (path) => client.delete(`${root}/${path}`),
    removeTree: (path) => client.delete(`${root}/${path}/`),
    paths: () => pathsInDirectory(directory),
  }
}

export function s3View(client: S3Client): StoreView {
  return objectView({
    get: async (key) => (await client.get(key))?.data ?? null,
    put: (key, data) => client.put(key, data),
    delete: (key) => client.delete(key),
    keys: (prefix) => client.keys(prefix),
  })
}

export function swiftView(client: SwiftClient): StoreView {
  return objectView({
    get: async (name) => (await client.get(name))?.data ?? null,
    put: (name, data) => client.put(name, data),
    delete: (name) => client.delete(name),
    keys: (prefix) => client.names(prefix),
  })
}

interface ObjectClient {
  get(key: string): Promise<Buffer | null>
  put(key: string, data: string | Uint8Array): Promise<unknown>
  delete(key: string): Promise<void>
  keys(prefix: string): Promise<string[]>
}

/** By whole objects under flat keys. */
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

/** @param root absolute path of the mount's root */
export function hdfsView(client: WebHdfsClient, root: string): StoreView {
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
