/** Small files that people name: read whole, without waiting for ever and without end. */
import { closeSync, constants, fstatSync, openSync, readSync, type Stats } from 'node:fs'
import { fileErrorReason } from './file-error.js'
import { formatSize } from './size.js'

const CHUNK_BYTES = 64 * 1024
/** How long a pipe may take until its writer is done: a program that makes a configuration needs a fraction of it. */
const PIPE_PATIENCE_MS = 5000
const PIPE_POLL_MS = 5

/** Why a file can't be had, in words that follow "can't be read: ". */
export class ReadFileError extends Error {}

export interface ReadFileOptions {
  readonly maxBytes: number
  /** A pipe is read, too, until its writer closes it: `--config-file=<(program)`. It blocks this thread meanwhile. */
  readonly allowPipe?: boolean
}

/**
 * The bytes of a regular file. Opened such that neither a pipe nor a device is waited for.
 * @throws ReadFileError
 */
export function readSmallFile(path: string, { maxBytes, allowPipe = false }: ReadFileOptions): Buffer {
  try {
    const fd = openSync(path, constants.O_RDONLY | constants.O_NONBLOCK | constants.O_NOCTTY)
    try {
      const stats = fstatSync(fd)
      if (allowPipe && stats.isFIFO()) return readPipe(fd, maxBytes)
      refuseOthers(stats)
      return readToEnd(fd, maxBytes)
    } finally {
      closeSync(fd)
    }
  } catch (error) {
    if (error instanceof ReadFileError) throw error
    throw new ReadFileError(fileErrorReason(error), { cause: error })
  }
}

function refuseOthers(stats: Stats): void {
  if (stats.isFile()) return
  if (stats.isDirectory()) throw new ReadFileError('it is a directory; name a file')
  throw new ReadFileError(`it is ${stats.isFIFO() ? 'a pipe' : 'a device or socket'}; name a file`)
}

/** Sizes are not believed: a file may grow while it is read, and those of /proc have none. */
function readToEnd(fd: number, maxBytes: number): Buffer {
  const chunks: Buffer[] = []
  let totalBytes = 0
  for (;;) {
    const chunk = Buffer.allocUnsafe(CHUNK_BYTES)
    const bytes = readSync(fd, chunk)
    if (bytes === 0) return Buffer.concat(chunks, totalBytes)
    totalBytes += bytes
    if (totalBytes > maxBytes) throw tooLarge(maxBytes)
    chunks.push(chunk.subarray(0, bytes))
  }
}

function tooLarge(maxBytes: number): ReadFileError {
  return new ReadFileError(`it is larger than ${formatSize(maxBytes)}`)
}

/** A pipe that nobody writes to yet looks as if it had ended. */
function readPipe(fd: number, maxBytes: number): Buffer {
  const deadlineMs = performance.now() + PIPE_PATIENCE_MS
  const pause = new Int32Array(new SharedArrayBuffer(Int32Array.BYTES_PER_ELEMENT))
  const chunks: Buffer[] = []
  let totalBytes = 0
  while (performance.now() < deadlineMs) {
    const chunk = readIfReady(fd)
    if (chunk !== null && chunk.byteLength > 0) {
      totalBytes += chunk.byteLength
      if (totalBytes > maxBytes) throw tooLarge(maxBytes)
      chunks.push(chunk)
    } else if (chunk !== null && totalBytes > 0) return Buffer.concat(chunks, totalBytes)
    else Atomics.wait(pause, 0, 0, PIPE_POLL_MS)
  }
  throw new ReadFileError('it is a pipe, whose writer has not ended within 5 seconds')
}

/** null: its writer has not written yet; empty: it has no writer. */
function readIfReady(fd: number): Buffer | null {
  const chunk = Buffer.allocUnsafe(CHUNK_BYTES)
  try {
    return chunk.subarray(0, readSync(fd, chunk))
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'EAGAIN') return null
    throw error
  }
}
