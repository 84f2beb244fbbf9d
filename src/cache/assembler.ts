import type { BackendWriter } from '../backends/backend.js'
import { dispose } from '../backends/disposable.js'
import { StorageError } from '../backends/storage-error.js'
import type { Block } from './block.js'
import type { FileContent } from './file-content.js'
import { weightOf } from './part-buffers.js'

/** Bytes [start, end) of a file. */
interface Range {
  readonly start: number
  readonly end: number
}

/** A copy of part of a file as it is now, put together from blocks, the stored object and zeros, remembering which dirty bytes it took. */
export class Assembler {
  private readonly taken = new Set<Block>()
  /** Of the last part that a writer did not take: its bytes may be nowhere else. */
  lastPart: Uint8Array | null = null

  constructor(private readonly content: FileContent) {}

  /** Give bytes [start, end) to `send`, whose promise tells when they are not needed any more. */
  async withPart<T>(path: string, { start, end }: Range, send: (part: Uint8Array) => Promise<T>): Promise<T> {
    const { account } = this.content.source
    return account.commitBudget.run(weightOf(end - start), async () => {
      const { parts } = this.content.cache
      const part = parts.take(end - start)
      await this.assemble(part, start, path)
      const result = await send(part)
      // Not after a failure: somebody may be reading it still.
      parts.giveBack(part)
      return result
    })
  }

  /**
   * Give the range that `next` tells, when there is memory for it, to a writer. At most `mostBytes`. Resolves when the writer takes the
   * next; a part that is still on its way then counts until it is not.
   */
  async writePart(writer: BackendWriter, path: string, mostBytes: number, next: () => Range): Promise<void> {
    const { commitBudget } = this.content.source.account
    const { parts } = this.content.cache
    const weight = weightOf(mostBytes)
    await commitBudget.take(weight)
    try {
      const { start, end } = next()
      if (start === end) {
        commitBudget.give(weight)
        return
      }
      const part = parts.take(end - start)
      await this.assemble(part, start, path)
      await this.give(writer, part)
      void this.whenSent(writer, part).then((isFree) => {
        if (isFree) parts.giveBack(part)
        commitBudget.give(weight)
      })
    } catch (error) {
      commitBudget.give(weight)
      throw error
    }
  }

  private async give(writer: BackendWriter, part: Uint8Array): Promise<void> {
    this.lastPart = null
    try {
      await writer.write(part)
    } catch (error) {
      this.lastPart = part
      throw error
    }
  }

  private async whenSent(writer: BackendWriter, part: Uint8Array): Promise<boolean> {
    try {
      await writer.whenSent?.(part)
      return true
    } catch {
      return false
    }
  }

  /** Fill `part` with the file's bytes from `start` on. What is in memory is copied before the first await. `path` is for reading the base. */
  private async assemble(part: Uint8Array, start: number, path: string): Promise<void> {
    const end = start + part.byteLength
    const missing = this.copyBlocks(part, start, end)
    const baseEnd = Math.min(end, this.content.baseLimit)
    for (const [low, high] of missing) {
      if (high > baseEnd) part.fill(0, Math.max(low, baseEnd) - start, high - start)
    }
    const wanted = missing.filter(([low]) => low < baseEnd)
    const first = wanted[0]
    if (first === undefined) return
    // One read over all gaps: there may be hundreds, and what lies between was copied already.
    const from = first[0]
    const to = Math.min(wanted.at(-1)?.[1] ?? baseEnd, baseEnd)
    const base = await this.readBase(path, from, to)
    for (const [low, high] of wanted) {
      part.set(base.subarray(low - from, Math.min(high, baseEnd) - from), low - start)
    }
    dispose(base)
  }

  private async readBase(path: string, from: number, to: number): Promise<Uint8Array> {
    const { source, version } = this.content
    try {
      return await source.account.fetchBudget.run(to - from, () =>
        source.backend.read(path, from, to - from, version ?? ''),
      )
    } catch (error) {
      if (!(error instanceof StorageError) || error.errno !== 'ESTALE') throw error
      // A reader begins anew with the version that is there now; what was changed of this one never will fit again.
      throw new StorageError('ESTALE', `what ${path} was based on is gone: ${error.message}`, {
        cause: error,
      })
    }
  }

  /** Copy what is in memory; returns the pieces that are not. */
  private copyBlocks(part: Uint8Array, start: number, end: number): [number, number][] {
    const { content } = this
    const { pool } = content.cache
    const missing: [number, number][] = []
    let position = start
    for (const block of content.pages.blocksFrom(start)) {
      if (block.offset >= end) break
      const low = Math.max(block.offset, start)
      const high = Math.min(block.end, end)
      if (position < low) missing.push([position, low])
      block.valid.forEachPiece(low, high, (pieceLow, pieceHigh, isValid) => {
        if (!isValid) missing.push([pieceLow, pieceHigh])
        else part.set(pool.view(block.slabOffsetOf(pieceLow), pieceHigh - pieceLow), pieceLow - start)
      })
      this.take(block, low, high)
      position = high
    }
    if (position < end) missing.push([position, end])
    return missing
  }

  private take(block: Block, low: number, high: number): void {
    if (!block.dirty.intersects(low, high)) return
    this.taken.add(block)
    this.content.blocks.markFlushing(block, low, high)
  }

  succeeded(): void {
    for (const block of this.taken) {
      block.flushing.clear()
      this.content.blocks.updateEvictable(block)
    }
  }

  failed(): void {
    for (const block of this.taken) this.content.restoreFlushing(block)
  }
}
