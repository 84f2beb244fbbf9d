/** Backends that differ from real ones in a few ways. */
import type { Backend } from '../../src/backends/backend.js'

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
