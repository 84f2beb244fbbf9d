import { isLocalMember, type Backend } from '../backends/backend.js'
import { EmptyBackend } from '../backends/local/empty-backend.js'
import { toStorageError } from '../backends/storage-error.js'

/** A store that could not be set up is tried again at most this often, by the requests that need it. */
const RETRY_MS = 1000

/**
 * Stands in for a store that could not be set up (a directory that is not there yet): requests are answered with the
 * error of the last try until one succeeds. `succeeded` is told once, and puts the store in this one's place.
 */
export function deferBackend(
  make: () => Backend,
  firstError: unknown,
  succeeded: (backend: Backend) => void,
): Backend {
  let error = toStorageError(firstError)
  let triedMs = performance.now()
  let made: Backend | null = null
  const connect = (): Backend => {
    if (made !== null) return made
    if (performance.now() - triedMs < RETRY_MS) throw error
    triedMs = performance.now()
    try {
      made = make()
    } catch (failure) {
      error = toStorageError(failure)
      throw error
    }
    succeeded(made)
    return made
  }
  return new Proxy<Backend>(new EmptyBackend(), {
    get(empty, key): unknown {
      const value: unknown = Reflect.get(empty, key)
      // What can be said without the store: that any name may be asked for, and modest capabilities.
      if (typeof value !== 'function' || isLocalMember(key)) return value
      return async (...args: unknown[]): Promise<unknown> => {
        const backend = connect()
        const method = Reflect.get(backend, key) as (...args: unknown[]) => Promise<unknown>
        return await method.apply(backend, args)
      }
    },
  })
}
