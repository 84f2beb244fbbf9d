/**
 * How a change of one object ends: as done, as refused, or, where nobody can tell, as unknown. What a server was asked to
 * store on a condition is looked at where the condition failed, or where no answer came: it may be ours.
 */
import type { ConditionKind, ExpectedVersion, StoreConditions } from '../backend.js'
import { HttpError, pauseBefore, RETRY_TIMES } from '../http/http-error.js'
import { StorageError, toStorageError } from '../storage-error.js'
import type { ConditionProbe } from './condition-probe.js'
import type { ObjectHead } from './object-client.js'
import { conflict, isConflict } from './object-store.js'
import { notShown } from './stored-version.js'

export interface Change {
  readonly path: string
  readonly expected: ExpectedVersion
  /** Which of the store's conditions it relies on. */
  readonly relies: (expected: string | null) => keyof StoreConditions
  /** Sends it. */
  readonly send: (condition: ExpectedVersion) => Promise<string>
  readonly look: () => Promise<ObjectHead | null>
  /** What is there was stored by this very change, now or in an earlier call. null: it does not say by whom. */
  readonly isOurs: (head: ObjectHead) => boolean | null
  /** What is there is the same, whoever stored it: asked only where it may be ours. */
  readonly isSame?: (head: ObjectHead) => Promise<boolean>
}

/** Returns the version that was stored. */
export async function settle(change: Change, probe: ConditionProbe): Promise<string> {
  const { expected } = change
  const condition = expected === undefined ? null : change.relies(expected)
  let mayBeDone = false
  for (let tries = 0; ; tries++) {
    const kind = condition === null ? 'look' : await kindOf(condition, probe)
    if (kind !== 'server') {
      const done = await lookBefore(change, mayBeDone)
      if (done !== null) return done
    }
    try {
      const version = await change.send(kind === 'look' ? undefined : expected)
      if (version === expected) await requireShown(change)
      return version
    } catch (error) {
      const failure = toStorageError(error)
      if (kind === 'unknown' && condition !== null && failure.errno === 'EOPNOTSUPP') {
        probe.note(condition, 'look')
        continue
      }
      mayBeDone ||= failure.outcome === 'unknown' || (failure instanceof HttpError && failure.isRepeated)
      // What has a condition is sent again by the client itself, and nothing was done.
      const isSettled = kind === 'server' && !isConflict(failure) && !mayBeDone
      if (isSettled || (!isConflict(failure) && !isWorthAnotherTry(failure) && !mayBeDone)) throw failure
      if (isConflict(failure) || mayBeDone) {
        const done = await judge(change, failure, mayBeDone)
        if (done !== null) return done
      }
      if (tries >= RETRY_TIMES) throw failure
    }
    await pauseBefore(tries + 1)
  }
}

/**
 * An upload in parts is completed under what is known by then: to try that condition takes many requests, so it is done after the
 * first upload, which is looked at before and sent with the condition.
 */
async function kindOf(condition: keyof StoreConditions, probe: ConditionProbe): Promise<ConditionKind> {
  return condition === 'complete' ? probe.conditions.complete : probe.of(condition)
}

/** The version that was to be replaced is that of the same bytes, or of a write that was called done and was not. */
async function requireShown(change: Change): Promise<void> {
  const head = await looked(change, true)
  const isThere = head !== null && (change.isOurs(head) ?? (await change.isSame?.(head)) ?? true)
  if (!isThere) throw notShown(change.path)
}

function isWorthAnotherTry(failure: StorageError): boolean {
  return failure instanceof HttpError && failure.again
}

/** The version, where an earlier try has stored it. @throws StorageError where something else is there than expected */
async function lookBefore(change: Change, mayBeDone: boolean): Promise<string | null> {
  const { path, expected } = change
  if (expected === undefined && !mayBeDone) return null
  const head = await looked(change, mayBeDone)
  if (head !== null && (await isDone(change, head, mayBeDone))) return head.version
  if (expected !== undefined && (head?.version ?? null) !== expected) throw conflict(path, expected)
  return null
}

/** The version that a change which failed has made after all; null where another try may help. */
async function judge(change: Change, failure: StorageError, mayBeDone: boolean): Promise<string | null> {
  const { path, expected } = change
  const head = await looked(change, mayBeDone)
  if (head !== null && (await isDone(change, head, mayBeDone))) return head.version
  if (expected === undefined) throw failure
  if ((head?.version ?? null) !== expected) throw conflict(path, expected)
  // Nobody has stored anything: two writers at once (409), a condition that was taken wrong, or a request that never arrived.
  if (isConflict(failure) || isWorthAnotherTry(failure)) return null
  throw failure
}

async function isDone(change: Change, head: ObjectHead, mayBeDone: boolean): Promise<boolean> {
  const isOurs = change.isOurs(head)
  if (isOurs !== null || !mayBeDone) return isOurs === true
  return (await change.isSame?.(head)) === true
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
