/** What became of a change that a server calls done without saying what it made: a look tells, or nobody does. */
import type { ExpectedVersion } from '../backend.js'
import { StorageError } from '../storage-error.js'
import { WRITE_MARK_KEY } from '../write-mark.js'
import type { Metadata } from './file-attributes.js'
import type { ObjectHead } from './object-client.js'

export interface Stored {
  readonly key: string
  readonly sizeBytes: number
  /** What was to be stored with it. */
  readonly metadata: Metadata
  /** What it was to replace. */
  readonly condition: ExpectedVersion
}

/**
 * The version of what is there, if it is what was stored.
 * @throws StorageError of an unknown outcome, where it is not or may not be
 */
export function versionOfStored(
  { key, sizeBytes, metadata, condition }: Stored,
  head: ObjectHead | null,
): string {
  const mark = metadata[WRITE_MARK_KEY]
  // What has no mark is known by being another version than before.
  const isOurs = mark === undefined ? head?.version !== condition : head?.metadata[WRITE_MARK_KEY] === mark
  if (head?.sizeBytes === sizeBytes && isOurs) return head.version
  throw notShown(key)
}

/** The same of a copy of what is at `source` now, which took its metadata along. */
export function versionOfCopied(key: string, copy: ObjectHead | null, source: ObjectHead | null): string {
  if (copy === null || source?.sizeBytes !== copy.sizeBytes) throw notShown(key)
  const [mark, ofSource] = [copy.metadata[WRITE_MARK_KEY], source.metadata[WRITE_MARK_KEY]]
  if (copy.version === source.version || (mark !== undefined && mark === ofSource)) return copy.version
  throw notShown(key)
}

export function notShown(key: string): StorageError {
  const message = `${key}: the server says that it was stored, and shows something else`
  return new StorageError('EIO', message, { retryable: true, outcome: 'unknown' })
}
