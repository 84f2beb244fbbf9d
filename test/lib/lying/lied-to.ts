/** A backend of the daemon before a store that lies, and what must hold of each of its calls. */
import assert from 'node:assert/strict'
import type { TestContext } from 'node:test'
import type { Backend } from '../../../src/backends/backend.js'
import { createBackend } from '../../../src/backends/create-backend.js'
import { StorageError } from '../../../src/backends/storage-error.js'
import { chooseSeed, Random } from '../model/random.js'
import { Liar } from './liar.js'
import { STARTERS, type LyingStore } from './stores.js'

/** Of one call of the backend: a look asks for an object, its directory and a listing, each a few times. */
const MOST_REQUESTS = 100
/** Of one request, ms: a lie that is a silence ends by it, and the truth is quicker however busy the machine is. */
const TIMEOUT_MS = 2000
/** A call may try a few times, ms. */
const DEADLINE_MS = 120_000

export interface LiedTo {
  readonly store: LyingStore
  readonly liar: Liar
  readonly backend: Backend
  readonly random: Random
  readonly seed: number
}

export async function liedTo(
  t: TestContext,
  type: LyingStore['type'],
  timeoutMs = TIMEOUT_MS,
): Promise<LiedTo> {
  const seed = chooseSeed()
  t.diagnostic(`OVFSD_SEED=${seed}`)
  const random = new Random(seed)
  const store = await STARTERS[type]()
  const liar = new Liar(store, random)
  await liar.start()
  t.after(async () => {
    liar.stop()
    await store.stop()
  })
  const backend = createBackend({ type, options: store.optionsAt(liar.origin), timeoutMs })
  return { store, liar, backend, random, seed }
}

export type Outcome<T> = { readonly value: T } | { readonly errno: string; readonly outcome: string }

/** What becomes of a call while the store lies: an answer or an error that is one of ours, in time and after not too many requests. */
export async function outcomeOf<T>(
  { liar, seed }: LiedTo,
  what: string,
  work: () => Promise<T>,
): Promise<Outcome<T>> {
  const before = liar.requests
  let timer: NodeJS.Timeout | undefined
  const deadline = new Promise<never>((_resolve, reject) => {
    timer = setTimeout(() => {
      reject(new Error(`OVFSD_SEED=${seed}: ${what} never ends:\n${liar.recent()}`))
    }, DEADLINE_MS)
  })
  try {
    return { value: await Promise.race([work(), deadline]) }
  } catch (error) {
    if (!isErrno(error)) throw new Error(`OVFSD_SEED=${seed}: ${what}\n${liar.recent()}`, { cause: error })
    const outcome = error instanceof StorageError ? error.outcome : ''
    return { errno: error.errno, outcome }
  } finally {
    clearTimeout(timer)
    const requests = liar.requests - before
    assert.ok(
      requests <= MOST_REQUESTS,
      `OVFSD_SEED=${seed}: ${what} asks ${requests} times\n${liar.recent(60)}`,
    )
  }
}

/** Of what is only looked at: the answer, or null for an error that does not make it vanish. */
export async function answerOf<T>(to: LiedTo, what: string, work: () => Promise<T>): Promise<T | null> {
  const outcome = await outcomeOf(to, what, work)
  if ('value' in outcome) return outcome.value
  const { errno } = outcome
  assert.ok(
    errno !== 'ENOENT' && errno !== 'ENOTDIR',
    `OVFSD_SEED=${to.seed}: ${what}: ${errno}, a lie makes it vanish\n${to.liar.recent()}`,
  )
  return null
}

function isErrno(error: unknown): error is { readonly errno: string } {
  return error instanceof StorageError || (error instanceof Error && error.name === 'FsError')
}
