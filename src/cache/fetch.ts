import { dispose } from '../backends/disposable.js'
import { tracedApart } from '../observability/traced.js'
import type { Block } from './block.js'
import type { FileContent } from './file-content.js'

/** A miss outside of a stream reads this much around it: one request's latency buys a neighbourhood. Class 2 is 64 KiB. */
export const RANDOM_FETCH_CLASS = 2
/** One request to the store asks for at most this much: past it, latency no longer matters and parallel requests do. */
const REQUEST_BYTES = 4 << 20

/** What somebody wants to have read; given up before the store was asked, it need not be asked. */
export interface Cancellation {
  isGivenUp: boolean
}

/**
 * Read the blocks' missing bytes from the store; neighbours share a request. Each block's `fetch` is the promise of its
 * request, which may leave the block as it was: the window was given up, or the file has another version.
 */
export function fetchBlocks(
  content: FileContent,
  blocks: readonly Block[],
  cancellation: Cancellation | null,
): void {
  for (let first = 0; first < blocks.length;) {
    let last = first
    while (
      last + 1 < blocks.length &&
      blocks[last + 1]?.offset === blocks[last]?.end &&
      (blocks[last + 1]?.end ?? 0) - (blocks[first]?.offset ?? 0) <= REQUEST_BYTES
    ) {
      last++
    }
    startRequest(content, blocks.slice(first, last + 1), cancellation)
    first = last + 1
  }
}

function startRequest(
  content: FileContent,
  blocks: readonly Block[],
  cancellation: Cancellation | null,
): void {
  const request = fetching(content, blocks, cancellation)
  for (const block of blocks) {
    block.fetch = request
    content.blocks.updateEvictable(block)
  }
  // Whoever needs the bytes awaits the promise and hears of the error; read-ahead has nobody who does.
  request.catch(() => undefined)
}

function fetching(
  content: FileContent,
  blocks: readonly Block[],
  cancellation: Cancellation | null,
): Promise<void> {
  if (cancellation === null) return readInto(content, blocks, cancellation)
  const offset = blocks[0]?.offset ?? 0
  const about = () =>
    content.subject({ 'ovfsd.offset': offset, 'ovfsd.size': (blocks.at(-1)?.end ?? offset) - offset })
  return tracedApart('cache.read_ahead', about, () => readInto(content, blocks, cancellation))
}

async function readInto(
  content: FileContent,
  blocks: readonly Block[],
  cancellation: Cancellation | null,
): Promise<void> {
  const { generation } = content
  const start = blocks[0]?.offset ?? 0
  try {
    const data = await readBase(content, start, blocks.at(-1)?.end ?? 0, cancellation)
    if (data === null) return
    for (const block of blocks) {
      if (content.generation !== generation || !block.isAlive) continue
      const filledBytes = fillBlock(content, block, start, data)
      if (cancellation !== null) countAhead(content, block, filledBytes)
    }
    dispose(data)
  } finally {
    for (const block of blocks) endFetch(content, block)
  }
}

/** The stored bytes of [start, end), as far as the base goes; null when they were given up. */
async function readBase(
  content: FileContent,
  start: number,
  end: number,
  cancellation: Cancellation | null,
): Promise<Uint8Array | null> {
  const { source, version } = content
  const baseEnd = Math.min(end, content.baseLimit)
  if (version === null || baseEnd <= start) return new Uint8Array(0)
  // The path before the budget: a commit holds its path while it waits for the budget, and a rename holds back who has none yet.
  return source.withPath((path) =>
    source.account.fetchBudget.run(baseEnd - start, async () => {
      if (cancellation?.isGivenUp === true) return null
      const askedMs = performance.now()
      const data = await source.backend.read(path, start, baseEnd - start, version)
      content.confirm(version, askedMs)
      return data
    }),
  )
}

/** The base may have been cut while the read ran: what is past its limit now is zero. Returns how many of the block's bytes were in `data`. */
function fillBlock(content: FileContent, block: Block, start: number, data: Uint8Array): number {
  const dataEnd = Math.min(start + data.byteLength, content.baseLimit)
  const filled = Math.min(block.end, Math.max(block.offset, dataEnd))
  if (filled > block.offset) {
    content.blocks.fillGaps(block, block.offset, filled, data.subarray(block.offset - start))
  }
  if (filled < block.end) content.blocks.fillGaps(block, filled, block.end, null)
  return filled - block.offset
}

function countAhead({ counters }: FileContent, block: Block, bytes: number): void {
  counters.readAheadFetchedBytes += bytes
  block.aheadBytes = bytes
}

function endFetch(content: FileContent, block: Block): void {
  block.fetch = null
  if (!block.isAlive) return
  // A failed read leaves nothing behind but what was written meanwhile.
  if (block.valid.isEmpty && block.pins === 0) content.blocks.drop(block)
  else content.blocks.updateEvictable(block)
}
