import type { AppendBase, ObjectStat } from '../backends/backend.js'
import { StorageError } from '../backends/storage-error.js'
import { Assembler } from './assembler.js'
import type { FileContent } from './file-content.js'
import type { Attempt } from './stored-base.js'
import { KeptUpload, mayCloseAgain } from './upload.js'

/** Appending pays where rewriting would be long; a shorter file is replaced in one atomic request. */
const APPEND_MIN_BYTES = 1 << 20

/**
 * Store the content's present state in one go, by the cheapest way that the store and the dirty ranges allow. Where the store has
 * all of it and only its end was refused or not answered, the upload is what is returned, to be finished later.
 */
export async function commitWhole(content: FileContent, attempt: Attempt): Promise<KeptUpload | null> {
  const assembler = new Assembler(content)
  try {
    return await content.source.withPath(async (path) => {
      // What becomes of it is noted before the path is let go: a rename that has waited for it must know what may be stored there.
      const result = await store(content, assembler, path, attempt).catch((error: unknown) => {
        content.committer.noteFailed(attempt, error)
        throw error
      })
      if (result instanceof KeptUpload) {
        content.committer.keepUpload(result, result.error)
        return result
      }
      assembler.succeeded()
      content.committer.noteStored(result, content.size)
      return null
    })
  } catch (error) {
    assembler.failed()
    throw error
  }
}

async function store(
  content: FileContent,
  assembler: Assembler,
  path: string,
  attempt: Attempt,
): Promise<ObjectStat | KeptUpload> {
  const { backend } = content.source
  const { size } = content
  if (canAppend(content)) return append(content, assembler, path)
  if (size <= backend.capabilities.partSizeBytes) {
    return assembler.withPart(path, { start: 0, end: size }, (part) =>
      backend.write(path, part, content.base.expected, content.writeOptions(attempt)),
    )
  }
  return rebuild(content, assembler, path, attempt)
}

/** Write the whole file anew, a part at a time; the stored object stays readable until the last part is in. */
async function rebuild(
  content: FileContent,
  assembler: Assembler,
  path: string,
  attempt: Attempt,
): Promise<ObjectStat | KeptUpload> {
  const { backend } = content.source
  const { size } = content
  const { partSizeBytes } = backend.capabilities
  await requireSpace(content)
  const writer = await backend.createWriter(path, content.base.expected, content.writeOptions(attempt))
  try {
    for (let start = 0; start < size; start += partSizeBytes) {
      const range = { start, end: Math.min(start + partSizeBytes, size) }
      await assembler.writePart(writer, path, partSizeBytes, () => range)
    }
  } catch (error) {
    await writer.abort()
    throw error
  }
  try {
    return await writer.close()
  } catch (error) {
    if (mayCloseAgain(error)) return new KeptUpload(writer, assembler, attempt, error)
    await writer.abort()
    throw error
  }
}

/** Growth from which on the store's free space is asked for first. */
const SPACE_CHECK_BYTES = 1 << 30

/** ENOSPC at once where a file has grown, by a truncation for example, beyond what the store could take: better than to fill it up to find out. */
async function requireSpace({ source, size, base }: FileContent): Promise<void> {
  if (size - base.sizeBytes < SPACE_CHECK_BYTES) return
  const { availableBlocks, blockSizeBytes } = await source.backend.usage()
  if (size > availableBlocks * blockSizeBytes) throw new StorageError('ENOSPC', `${size} bytes do not fit`)
}

/** All that is new lies behind the stored object's end. */
function canAppend({ source, base, size, blocks }: FileContent): boolean {
  const { sizeBytes } = base
  if (!source.backend.capabilities.append || base.version === null) return false
  if (sizeBytes < APPEND_MIN_BYTES || base.limit !== sizeBytes || size <= sizeBytes) return false
  for (const block of blocks.dirty) {
    if (block.dirty.startOf(0) < sizeBytes) return false
  }
  return true
}

async function append(content: FileContent, assembler: Assembler, path: string): Promise<ObjectStat> {
  const { base, size } = content
  const { backend } = content.source
  const { partSizeBytes } = backend.capabilities
  let stat: ObjectStat | null = null
  let before: AppendBase = { version: base.version ?? '', sizeBytes: base.sizeBytes }
  try {
    for (let start = before.sizeBytes; start < size; start += partSizeBytes) {
      const end = Math.min(start + partSizeBytes, size)
      const made: ObjectStat = await assembler.withPart(path, { start, end }, (part) =>
        backend.append(path, part, before),
      )
      if (made.sizeBytes !== end) throw new StorageError('ESTALE', `${path}: somebody else appended to it`)
      stat = made
      before = made
    }
  } catch (error) {
    // What was appended before is stored, as our own calls said. It does not show through, so the next commit rebuilds the object.
    if (stat !== null) base.lengthened(stat)
    throw error
  }
  if (stat === null) throw new StorageError('EIO', `${path}: nothing to append`)
  return stat
}
