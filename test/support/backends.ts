/** Backends that differ from real ones in a few ways. */
import type { Backend, ExpectedVersion, ObjectStat } from '../../src/backends/backend.js'
import { conflict } from '../../src/backends/objects/object-store.js'
import { StorageError } from '../../src/backends/storage-error.js'

/** The same backend but for some members. */
export function withMembers(
  backend: Backend,
  members: { readonly [Name in keyof Backend]?: Backend[Name] | undefined },
): Backend {
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
    // All at once, as services do it that know no pages.
    listPage: undefined,
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

/** The file at `path`, or all files below the directory there. */
async function filesAt(backend: Backend, path: string): Promise<[string, ObjectStat][]> {
  const stat = await backend.stat(path)
  if (stat === null) return []
  if (stat.kind === 'file') return [[path, stat]]
  const below = await Promise.all(
    (await backend.list(path)).map(({ name }) => filesAt(backend, `${path}/${name}`)),
  )
  return below.flat()
}

/** The same backend, particular about versions, and its renames give what they move other ones, as copies of large objects in S3 do. */
export function withChangingVersions(backend: Backend): Backend {
  const requireVersion = async (path: string, expected: ExpectedVersion): Promise<void> => {
    if (expected === undefined) return
    const stat = await backend.stat(path)
    if ((stat?.version ?? null) !== expected) throw conflict(path, expected)
  }
  return withMembers(backend, {
    rename: async (from, to, kind, options) => {
      const before = await filesAt(backend, from)
      await backend.rename(from, to, kind)
      for (const [path, { version }] of before) {
        const target = to + path.slice(from.length)
        const stat = await backend.stat(target)
        if (stat !== null) options?.moved?.({ from: path, to: target, previousVersion: version, stat })
      }
    },
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
