/** Backends that differ from real ones in a few ways. */
import type { Backend, ExpectedVersion } from '../../src/backends/backend.js'
import { conflict } from '../../src/backends/objects/object-store.js'
import { StorageError } from '../../src/backends/storage-error.js'

/** The same backend but for some members. */
export function withMembers(backend: Backend, members: Partial<Backend>): Backend {
  return new Proxy(backend, {
    get(target, property) {
      if (property in members) return members[property as keyof Backend]
      const value: unknown = Reflect.get(target, property, target)
      return typeof value === 'function' ? (value.bind(target) as unknown) : value
    },
  })
}

/** The same backend, its listings with attributes, as object stores give them. */
export function withListedAttributes(backend: Backend): Backend {
  return withMembers(backend, {
    list: async (path) => {
      const entries = await backend.list(path)
      return Promise.all(
        entries.map(async (entry) => ({
          ...entry,
          stat: await backend.stat(path === '' ? entry.name : `${path}/${entry.name}`),
        })),
      )
    },
  })
}

/** The same backend, particular about versions, and its renames give what they move other ones, as copies of large objects in S3 do. */
export function withChangingVersions(backend: Backend): Backend {
  const requireVersion = async (path: string, expected: ExpectedVersion): Promise<void> => {
    if (expected === undefined) return
    const stat = await backend.stat(path)
    if ((stat?.version ?? null) !== expected) throw conflict(path, expected)
  }
  return withMembers(backend, {
    copyChangesVersion: () => true,
    read: async (path, offset, lengthBytes, version) => {
      const stat = await backend.stat(path)
      if (stat === null) throw new StorageError('ENOENT', path)
      if (stat.version !== version) throw new StorageError('ESTALE', path, { retryable: true })
      return backend.read(path, offset, lengthBytes, version)
    },
    write: async (path, data, expected) => {
      await requireVersion(path, expected)
      return backend.write(path, data, expected)
    },
    createWriter: async (path, expected) => {
      const writer = await backend.createWriter(path, expected)
      return {
        write: (data) => writer.write(data),
        close: async () => {
          await requireVersion(path, expected)
          return writer.close()
        },
        abort: () => writer.abort(),
      }
    },
  })
}
