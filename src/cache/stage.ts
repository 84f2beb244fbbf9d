/** What a file's content has that its store has not, put on the local disk. */
import { StorageError } from '../backends/storage-error.js'
import type { Block } from './block.js'
import type { FileContent } from './file-content.js'
import type { Staging } from './staging.js'

interface Piece {
  readonly block: Block
  readonly start: number
  readonly end: number
}

/**
 * Resolves with the id of a record of the content as it was when the path was taken, with what was written since as far as
 * it lies in the same places: those writes were not acknowledged as safe. No commit runs meanwhile.
 */
export async function stage(
  content: FileContent,
  staging: Staging,
  path: string,
  replaces: string | null,
): Promise<string> {
  const pieces = dirtyPieces(content)
  const description = {
    paths: [path],
    ...content.source.attributesToStage(),
    base: content.version,
    replacesAny: content.mayReplaceAny,
    sizeBytes: content.size,
    baseLimit: content.baseLimit,
    ranges: pieces.map(({ start, end }) => [start, end] as const),
    replaces,
  }
  return staging.write(description, bytesOf(content, pieces))
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

/** Copies: the guest may write on while they are on their way. */
function* bytesOf(content: FileContent, pieces: readonly Piece[]): Generator<Uint8Array> {
  for (const { block, start, end } of pieces) {
    if (!block.isAlive) throw new StorageError('EIO', 'the data was discarded while it was staged')
    yield Uint8Array.from(content.cache.pool.view(block.slabOffsetOf(start), end - start))
  }
}
