/**
 * The order in which whatever makes others wait is taken. Whoever holds one may wait for those behind it only, so that nobody ever waits
 * in a circle. Asserted while `assertLockOrder` has been called, as tests do and OVFSD_ASSERT_LOCK_ORDER=1 does; else it costs a
 * comparison with null.
 */
import { AsyncLocalStorage } from 'node:async_hooks'

const LOCK_ORDER = [
  /** A mount's renames, one at a time: `Mount.serializeRename`. */
  'renames',
  /** The names of a directory: `Inode.change`. Several at once, directories above before those below. */
  'names',
  /** Bytes of the pool that reads keep from eviction: `StoreAccount.readBudget`. */
  'reads',
  /** A slab of the pool. Whoever waits for one waits for commits. */
  'slabs',
  /** The one commit of a file, or what must not run beside it: `FileContent`. */
  'commits',
  /** A path that must stay true: `PathGuard`. Several at once by `useAll` and `move` only. */
  'paths',
  /** Parts of uploads in memory: `StoreAccount.commitBudget`. */
  'parts',
  /** Answers of the store in memory: `StoreAccount.fetchBudget`. */
  'fetches',
] as const

export type Lock = (typeof LOCK_ORDER)[number]

/** What may be taken while another of its kind is held. */
const NESTED: ReadonlySet<Lock> = new Set<Lock>(['names'])

let held: AsyncLocalStorage<readonly Lock[]> | null = null

/** From now on the order is asserted in this process: what breaks it throws. */
export function assertLockOrder(): void {
  held ??= new AsyncLocalStorage()
}

if (process.env['OVFSD_ASSERT_LOCK_ORDER'] === '1') assertLockOrder()

/** `lock` is about to be waited for. */
export function mayWaitFor(lock: Lock): void {
  if (held !== null) check(held.getStore() ?? [], lock)
}

function check(locks: readonly Lock[], lock: Lock): void {
  const place = LOCK_ORDER.indexOf(lock)
  const wrong = locks.find((other) =>
    other === lock ? !NESTED.has(lock) : LOCK_ORDER.indexOf(other) > place,
  )
  if (wrong !== undefined) throw new Error(`lock order: ${lock} is waited for while ${wrong} is held`)
}

/** Run `work`, which holds `lock`. */
export function holding<T>(lock: Lock, work: () => Promise<T>): Promise<T> {
  return held === null ? work() : held.run([...(held.getStore() ?? []), lock], work)
}

/** Run `work`, for which nobody who holds anything waits. */
export function holdingNothing<T>(work: () => T): T {
  return held === null ? work() : held.run([], work)
}
