/** Uploads that outlive a call: begun while the file is written, or kept since their end has failed. */
import type { ObjectStat } from '../backends/backend.js'
import { StorageError } from '../backends/storage-error.js'
import { newWriteMark } from '../backends/write-mark.js'
import type { FileContent } from './file-content.js'
import { endInConflict, identify } from './ownership.js'
import { StreamingUpload } from './streaming-upload.js'
import { abandon, isConflict, type Upload } from './upload.js'

/** A long run of appends to a file that the store does not have yet is uploaded while it is written. */
export function continueStream(content: FileContent): void {
  let { upload } = content
  if (upload === null) {
    if (!canStream(content)) return
    upload = startStream(content)
  }
  if (upload instanceof StreamingUpload) upload.pump()
}

/** Written from front to back, with nothing in the store that would have to be read. */
export function canStream(content: FileContent): boolean {
  const { partSizeBytes, maxFileBytes } = content.source.backend.capabilities
  return (
    // Of a file that is never longer than a part, all is stored at once.
    partSizeBytes < maxFileBytes &&
    content.writer.isFrontToBack &&
    content.base.limit === 0 &&
    // Neither beside a commit, nor before it is known what it would replace.
    content.committer.kind === 'dirty'
  )
}

export function startStream(content: FileContent): StreamingUpload {
  const attempt = { mark: newWriteMark(), sizeBytes: 0, limit: 0, changes: -1 }
  const upload = new StreamingUpload(content, attempt)
  content.committer.streams(upload)
  return upload
}

export async function finishUpload(content: FileContent, upload: Upload): Promise<void> {
  const { source } = content
  let stat: ObjectStat
  try {
    stat = await upload.finish()
  } catch (error) {
    await finishFailed(content, upload, error as StorageError)
    await source.committed()
    return
  }
  await source.withPath(() => {
    uploadDone(content, upload, stat)
    return Promise.resolve()
  })
  await source.committed()
}

function uploadDone({ committer }: FileContent, upload: Upload, stat: ObjectStat): void {
  committer.dropUpload()
  upload.succeeded()
  committer.noteStored(stat, upload.attempt.limit)
}

/** Returns where the upload turns out to have been done all the same. */
async function finishFailed(content: FileContent, upload: Upload, error: StorageError): Promise<void> {
  const { committer, source } = content
  // Removed meanwhile, and its upload ended with it: nothing is lost.
  if (committer.isRemoved) throw error
  const wasUnknown = committer.isUncertain
  if (!upload.isOver) {
    committer.keepUpload(upload, error)
    throw error
  }
  if (!isConflict(error) && !wasUnknown) return uploadFailed(content, upload, error)
  const found = await source.withPath(async (path) => {
    const there = await identify(content, path)
    if (there === null || there.mark !== upload.attempt.mark) return there
    uploadDone(content, upload, there.stat)
    return undefined
  })
  if (found === undefined) return
  if ((found?.stat.version ?? null) === content.base.expected || !isConflict(error))
    return uploadFailed(content, upload, error)
  return endInConflict(content, error)
}

/** It can't be finished any more: the data is dirty again or, where some of it was nowhere else, lost. */
async function uploadFailed(content: FileContent, upload: Upload, error: StorageError): Promise<never> {
  await giveUp(content, upload)
  if (upload.hasEvictedData) dataLost(content, error)
  throw error
}

/** What it had taken is dirty again. */
export async function giveUp(content: FileContent, upload: Upload): Promise<void> {
  content.committer.dropUpload()
  content.committer.mustStore = true
  await abandon(content, upload)
}

/** Part of the data was only in an upload that is gone. What is left would be a file with silent holes. */
function dataLost(content: FileContent, error: StorageError): void {
  const lost = new StorageError(error.errno, `an upload failed and its data is lost: ${error.message}`, {
    cause: error,
  })
  content.discard()
  content.size = content.base.sizeBytes
  content.base.uncut()
  content.committer.lost(lost)
  content.noteLoss(lost)
}

/** What it had taken is to be stored anew, or not at all. */
export async function abortUpload(content: FileContent): Promise<void> {
  const { upload, committer } = content
  if (upload === null) return
  const wasUnknown = committer.isUncertain
  await giveUp(content, upload)
  // It may be stored for all that.
  if (wasUnknown) committer.addUnknown({ ...upload.attempt, limit: 0 })
}
