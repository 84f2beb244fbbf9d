/** What may become of a call to a store, for tests to choose. */
import type { ErrnoName } from '../../../src/backends/storage-error.js'
import { StorageError } from '../../../src/backends/storage-error.js'

/** A call as it is recorded. */
export interface Call {
  /** Counts all calls of the backend from 0. */
  readonly index: number
  readonly method: string
  readonly path: string
  /** It may change the store. */
  readonly changes: boolean
}

export type Fault =
  /** The store said no, and nothing was done. */
  | { readonly kind: 'refused'; readonly errno: ErrnoName; readonly retryable: boolean }
  /** Done, and the answer is lost. */
  | { readonly kind: 'lost' }
  /** Not done, and nobody answers. */
  | { readonly kind: 'unsent' }
  /** Nobody answers in time; done so many calls later, if the condition still holds then. */
  | { readonly kind: 'late'; readonly calls: number }
  /** The daemon dies before the call reaches the store, or after it was done. */
  | { readonly kind: 'killed'; readonly isDone: boolean }

/** Asked for each call; null: it is carried out and answered. */
export type Script = (call: Call) => Fault | null

/** What an error tells of a fault. */
export function errorOf(fault: Fault, { method, path }: Call): StorageError {
  if (fault.kind === 'refused') {
    const { errno, retryable } = fault
    return new StorageError(errno, `${method} ${path}: refused`, { retryable, outcome: 'refused' })
  }
  return new StorageError('ETIMEDOUT', `${method} ${path}: no answer`, {
    ...{ retryable: true, unanswered: true, outcome: 'unknown' },
  })
}

export const BUSY: Fault = { kind: 'refused', errno: 'EIO', retryable: true }
export const FORBIDDEN: Fault = { kind: 'refused', errno: 'EACCES', retryable: false }
export const FULL: Fault = { kind: 'refused', errno: 'ENOSPC', retryable: false }
export const LOST: Fault = { kind: 'lost' }
export const UNSENT: Fault = { kind: 'unsent' }
