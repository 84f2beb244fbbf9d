import { monotonicMs } from '../backends/clock.js'
import type { ReadSink, WriteSource } from '../cache/content-source.js'
import { extend } from '../cache/resizing.js'
import type { FileSystem } from './file-system.js'
import { requireFits } from './access.js'
import { FsError } from './fs-error.js'
import { requireWholeRead } from './guest-view.js'
import { revalidate } from './lookup.js'
import { O_APPEND, type OpenFile } from './open-file.js'

/** Hand bytes [offset, offset + sizeBytes), as far as the file goes, to the sink. Undefined when all was in memory. */
export function read(
  file: OpenFile,
  offset: number,
  sizeBytes: number,
  sink: ReadSink,
): Promise<void> | undefined {
  if (!file.canRead) throw new FsError('EBADF')
  const { inode, content } = file
  if (!inode.isFresh(monotonicMs())) return readStale(file, offset, sizeBytes, sink)
  if (inode.guestSize !== null && !file.isDirect) requireWholeRead(inode)
  const wantedEnd = offset + sizeBytes
  const end = Math.min(wantedEnd, content.size)
  if (offset >= end) {
    // A conflict takes the contents away.
    content.requireAlive()
    return undefined
  }
  file.readAhead.onRead(content, offset, end)
  return content.read(offset, end, sink, wantedEnd)
}

/** The file's version has not been looked at for longer than the cache may live. */
async function readStale(file: OpenFile, offset: number, sizeBytes: number, sink: ReadSink): Promise<void> {
  try {
    await revalidate(file.inode)
  } catch (error) {
    throw error instanceof FsError && error.errno === 'ENOENT' ? new FsError('ESTALE') : error
  }
  if (!file.isDirect) requireWholeRead(file.inode)
  const wantedEnd = offset + sizeBytes
  const end = Math.min(wantedEnd, file.content.size)
  if (offset < end) await file.content.read(offset, end, sink, wantedEnd)
  else file.content.requireAlive()
}

/** No store that takes files in parts has a smaller limit; a larger file may have been made by others, and not be taken from us. */
const SURELY_STORABLE_BYTES = 2 ** 36

/** Take `sizeBytes` from the source. `flags` are the descriptor's present ones. Returns the bytes written. */
export function write(
  file: OpenFile,
  offset: number,
  sizeBytes: number,
  flags: number,
  source: WriteSource,
): number | Promise<number> {
  if (!file.canWrite) throw new FsError('EBADF')
  const { inode, content } = file
  const start = (flags & O_APPEND) === 0 ? offset : content.size
  // Only what makes it longer may not fit; a look at the store's capabilities leads through all that stands in front of it.
  const end = start + sizeBytes
  if (end > content.size || content.size > SURELY_STORABLE_BYTES)
    requireFits(inode, Math.max(end, content.size))
  if (sizeBytes === 0) return 0
  const written = content.write(start, sizeBytes, source)
  inode.touch()
  inode.pendingMtime = null
  if (!file.isSynchronous) return written
  return commitWrite(file, written)
}

async function commitWrite(file: OpenFile, written: number | Promise<number>): Promise<number> {
  const bytes = await written
  if (!file.inode.isDoomed) await file.content.sync(file)
  return bytes
}

const FALLOC_FL_KEEP_SIZE = 0x01
const FALLOC_FL_PUNCH_HOLE = 0x02
const FALLOC_FL_ZERO_RANGE = 0x10
/** Zeros are written in pieces of this size: the largest slab, so each is one. */
const ZERO_PIECE_BYTES = 4 << 20

/**
 * fallocate(2). Space cannot be reserved in a store, but its other promise can be kept: the file reads as zeros up to
 * the size asked for. PUNCH_HOLE and ZERO_RANGE write zeros. Others: EOPNOTSUPP.
 */
export async function fallocate(
  fs: FileSystem,
  file: OpenFile,
  mode: number,
  offset: number,
  sizeBytes: number,
): Promise<void> {
  const zeros: WriteSource = {
    pull: (_offset, poolOffset, lengthBytes) => {
      fs.cache.pool.zero(poolOffset, lengthBytes)
    },
  }
  if (!file.canWrite) throw new FsError('EBADF')
  const { content, inode } = file
  const end = offset + sizeBytes
  requireFits(inode, end)
  const keepSize = (mode & FALLOC_FL_KEEP_SIZE) !== 0
  const erase = mode & ~FALLOC_FL_KEEP_SIZE
  if (erase !== 0 && erase !== FALLOC_FL_PUNCH_HOLE && erase !== FALLOC_FL_ZERO_RANGE)
    throw new FsError('EOPNOTSUPP')
  if (erase !== 0) {
    const zeroEnd = Math.min(end, content.size)
    // Where there is room for less, the rest is asked for again, and tells why there is none.
    for (let position = offset; position < zeroEnd;) {
      position += await content.write(position, Math.min(ZERO_PIECE_BYTES, zeroEnd - position), zeros)
    }
  }
  // Others may have written behind it meanwhile: that stays.
  if (!keepSize) await extend(content, end)
  inode.pendingMtime = null
  inode.touch()
  if (file.isSynchronous && !inode.isDoomed) await content.sync(file)
}

const SEEK_DATA = 3
const SEEK_HOLE = 4

/** lseek(2) for SEEK_DATA and SEEK_HOLE: a stored file is all data, with one hole at its end. */
export function seek(file: OpenFile, offset: number, whence: number): number {
  const { content } = file
  content.requireAlive()
  const { size } = content
  if (whence !== SEEK_DATA && whence !== SEEK_HOLE) throw new FsError('EINVAL')
  if (offset >= size) throw new FsError('ENXIO')
  return whence === SEEK_DATA ? offset : size
}
