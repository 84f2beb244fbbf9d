/** Whose version is stored: a write of this file's whose answer was lost, or somebody else's. */
import type { IdentifiedObject, ObjectStat } from '../backends/backend.js'
import { StorageError } from '../backends/storage-error.js'
import { keepConflict } from './conflicts.js'
import type { FileContent } from './file-content.js'
import type { Attempt } from './stored-base.js'
import { abandon } from './upload.js'

/** A conflict that turns out to be our own work is tried again with what was written since; more often, something is wrong. */
const MAX_OWN_CONFLICTS = 3

/** Find out whether writes that got no answer were done; then what the last of them has made is the base. */
export async function recogniseAttempts(content: FileContent): Promise<void> {
  const { attempts } = content.committer
  if (attempts.length > 0 && content.source.backend.identify !== undefined) await findOwn(content, attempts)
}

/** What is stored, where it is none of `attempts`; else that attempt was done, and `undefined` is returned. */
async function findOwn(
  content: FileContent,
  attempts: readonly Attempt[],
): Promise<IdentifiedObject | null | undefined> {
  return content.source.withPath(async (path) => {
    const found = await identify(content, path)
    const own = attempts.find(({ mark }) => mark === found?.mark)
    if (found === null || own === undefined) return found
    adoptOwn(content, own, found.stat)
    return undefined
  })
}

/** Called while the path is held. */
export async function identify({ source }: FileContent, path: string): Promise<IdentifiedObject | null> {
  const { backend } = source
  if (backend.identify !== undefined) return backend.identify(path)
  const stat = await backend.stat(path, 'file')
  return stat === null ? null : { stat, mark: null }
}

function adoptOwn({ blocks, writer, committer }: FileContent, attempt: Attempt, stat: ObjectStat): void {
  // Else what was written since is dirty, and so is what the store has of it.
  if (attempt.changes === writer.changes) blocks.clearDirty()
  committer.noteStored(stat, attempt.limit)
}

/** Returns where the store has refused a write since it has one of `attempts`; else the conflict is real, or is taken for a failure. */
export async function requireOwn(
  content: FileContent,
  attempts: readonly Attempt[],
  error: StorageError,
  tries: number,
): Promise<void> {
  const found = await findOwn(content, attempts)
  if (found === undefined && tries < MAX_OWN_CONFLICTS) return
  if (found !== undefined && (found?.stat.version ?? null) !== content.base.expected)
    return endInConflict(content, error)
  throw new StorageError('EIO', `what was to be replaced is there: ${error.message}`, {
    retryable: true,
    cause: error,
  })
}

/** Theirs stays; the guest's version is kept elsewhere, and its handles are told. Rejects with `error`. */
export async function endInConflict(content: FileContent, error: StorageError): Promise<never> {
  const { source, committer } = content
  const { path } = source
  const { upload } = committer
  if (committer.isRemoved) throw error
  committer.conflicted(error)
  let keptAs: string | null = null
  try {
    if (upload !== null) await abandon(content, upload)
    if (upload?.hasEvictedData !== true) keptAs = await keepConflict(content, error)
  } catch (failure) {
    error = new StorageError(error.errno, `${error.message}; it could not be kept: ${String(failure)}`, {
      cause: failure,
    })
  }
  content.discard()
  content.size = 0
  source.account.losses.note({ path, kind: 'conflict', error, keptAs })
  source.conflicted()
  throw error
}
