import { isLocalMember, type Backend } from '../backend.js'

/**
 * Runs a call of a backend, or fails in its place. `method` is a method of Backend that asks the store, `run` makes the call; what it
 * resolves with is what the method promises.
 */
export type AroundCall = (
  method: string,
  args: readonly unknown[],
  run: () => Promise<unknown>,
) => Promise<unknown>

/** The same store with something around each of its calls, and other `members`. What can be said without the store is passed on as it is. */
export function interceptCalls(
  backend: Backend,
  around: AroundCall,
  members: Partial<Backend> = {},
): Backend {
  return new Proxy<Backend>(backend, {
    get(target, key): unknown {
      if (Object.hasOwn(members, key)) return Reflect.get(members, key)
      const value: unknown = Reflect.get(target, key, target)
      if (typeof value !== 'function' || typeof key === 'symbol') return value
      const method = value as (...args: unknown[]) => Promise<unknown>
      // Bound, or what it calls on itself would be taken for calls of the store.
      if (isLocalMember(key)) return method.bind(target)
      return (...args: unknown[]) => around(key, args, () => method.apply(target, args))
    },
  })
}
