/** What a file's content has that its store has not, put on the local disk. */
import type { WriteMark } from '../backends/backend.js'
import { StorageError } from '../backends/storage-error.js'
import { newWriteMark } from '../backends/write-mark.js'
import type { Block } from './block.js'
import type { FileContent } from './file-content.js'
import type { StagedPlace } from './staged-record.js'
import type { Staging } from './staging.js'

interface Piece {
  readonly block: Block
  readonly start: number
  readonly end: number
}

/** A record that was written. */
export interface Staged {
  readonly id: string
  /** What the next commit is to take along: the record is stored where an object has it. */
  readonly next: WriteMark
}

/**
 * Put on the local disk the content as it was when the path was taken, with what was written since as far as it lies in the
 * same places: those writes were not acknowledged as safe. No commit runs meanwhile.
 */
export async function stage(
  content: FileContent,
  staging: Staging,
  path: string,
  replaces: string | null,
): Promise<Staged> {
  const pieces = dirtyPieces(content)
  const next = newWriteMark()
  const description = {
    ...placeOf(content, [path], next),
    sizeBytes: content.size,
    baseBytes: content.storedSize,
    baseLimit: content.baseLimit,
    ranges: pieces.map(({ start, end }) => [start, end] as const),
    replaces,
  }
  return { id: await staging.write(description, bytesOf(content, pieces)), next }
}

/** What changes of a record while its bytes stay. */
export function placeOf(content: FileContent, paths: readonly string[], next: WriteMark | null): StagedPlace {
  return {
    paths,
    ...content.source.attributesToStage(),
    base: content.version,
    expected: content.base.expected,
    marks: content.committer.marks,
    next,
  }
}

function dirtyPieces(content: FileContent): Piece[] {
  const pieces: Piece[] = []
  for (const block of content.pages.blocksFrom(0)) {
    for (let i = 0; i < block.dirty.count; i++) {
      pieces.push({ block, start: block.dirty.startOf(i), end: block.dirty.endOf(i) })
    }
  }
  return pieces
}

/** Each is copied at once: the guest may write on. */
function* bytesOf(content: FileContent, pieces: readonly Piece[]): Generator<Uint8Array> {
  for (const { block, start, end } of pieces) {
    if (!block.isAlive) throw new StorageError('EIO', 'the data was discarded while it was staged')
    yield content.cache.pool.view(block.slabOffsetOf(start), end - start)
  }
}
