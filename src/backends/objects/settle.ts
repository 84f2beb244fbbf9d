/**
 * How a change of one object ends: as done, as refused, or, where nobody can tell, as unknown. What a server was asked to
 * store on a condition is looked at where the condition failed, or where no answer came: it may be ours.
 */
import type { ConditionKind, ExpectedVersion, StoreConditions } from '../backend.js'
import { HttpError, pauseBefore, RETRY_TIMES } from '../http/http-error.js'
import { StorageError, toStorageError } from '../storage-error.js'
import type { ConditionProbe } from './condition-probe.js'
import type { ObjectHead } from './object-client.js'
import { conflict } from './object-store.js'

export interface Change {
  readonly path: string
  readonly expected: ExpectedVersion
  /** Which of the store's conditions it relies on. */
  readonly relies: (expected: string | null) => keyof StoreConditions
  /** Sends it. */
  readonly send: (condition: ExpectedVersion) => Promise<string>
  readonly look: () => Promise<ObjectHead | null>
  /** What is there is what this change stores. */
  readonly isDone: (head: ObjectHead) => boolean | Promise<boolean>
}

/** Returns the version that was stored. */
export async function settle(change: Change, probe: ConditionProbe): Promise<string> {
  const { expected } = change
  const condition = expected === undefined ? null : change.relies(expected)
  let mayBeDone = false
  for (let tries = 0; ; tries++) {
    const kind: ConditionKind = condition === null ? 'look' : await probe.of(condition)
    if (kind !== 'server') {
      const done = await lookBefore(change, mayBeDone)
      if (done !== null) return done
    }
    try {
      return await change.send(kind === 'look' ? undefined : expected)
    } catch (error) {
      const failure = toStorageError(error)
      if (kind === 'unknown' && condition !== null && failure.errno === 'EOPNOTSUPP') {
        probe.note(condition, 'look')
        continue
      }
      mayBeDone ||= failure.outcome === 'unknown' || (failure instanceof HttpError && failure.isRepeated)
      const verdict = await judge(change, failure, mayBeDone)
      if (verdict !== 'again') return verdict
      if (tries >= RETRY_TIMES) throw failure
    }
    await pauseBefore(tries + 1)
  }
}

/** The version, where an earlier try has stored it. @throws StorageError where something else is there than expected */
async function lookBefore(change: Change, mayBeDone: boolean): Promise<string | null> {
  const { path, expected } = change
  if (expected === undefined && !mayBeDone) return null
  const head = await looked(change, mayBeDone)
  if (mayBeDone && head !== null && (await change.isDone(head))) return head.version
  if (expected !== undefined && (head?.version ?? null) !== expected) throw conflict(path, expected)
  return null
}

/** What becomes of a change that failed: the version that it has made after all, or another try. */
async function judge(change: Change, failure: StorageError, mayBeDone: boolean): Promise<string> {
  const { path, expected } = change
  const isConflict = failure.errno === 'ESTALE' || failure.errno === 'EEXIST'
  if (!isConflict && !mayBeDone) throw failure
  const head = await looked(change, mayBeDone)
  if (mayBeDone && head !== null && (await change.isDone(head))) return head.version
  if (expected === undefined) throw failure
  if ((head?.version ?? null) !== expected) throw conflict(path, expected)
  // Nobody has stored anything: two writers at once (409), or a condition that was taken wrong.
  const mayHelp = isConflict || (failure instanceof HttpError && failure.again)
  if (!mayHelp) throw failure
  return 'again'
}

/** A look that fails leaves an unknown outcome unknown. */
async function looked(change: Change, mayBeDone: boolean): Promise<ObjectHead | null> {
  try {
    return await change.look()
  } catch (error) {
    const failure = toStorageError(error)
    if (!mayBeDone) throw failure
    throw new StorageError(failure.errno, failure.message, {
      ...{ retryable: true, unanswered: failure.unanswered, outcome: 'unknown', cause: failure },
    })
  }
}
