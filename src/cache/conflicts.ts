/**
 * The guest's version of a file that can't be stored, since somebody else has changed the file meanwhile: theirs stays, and this
 * one is kept beside it for a person to look at. It is two files of one name:
 *
 *     NAME        the contents as the guest saw them; zeros where they are not known any more
 *     NAME.json   where the file was, why its contents are here, and which ranges of them are certain
 */
import { randomBytes } from 'node:crypto'
import { mkdirSync } from 'node:fs'
import path from 'node:path'
import { RESERVED_DIRECTORY, type Backend } from '../backends/backend.js'
import { dispose } from '../backends/disposable.js'
import { StorageError } from '../backends/storage-error.js'
import { DurableDirectory } from './durable-directory.js'
import type { FileContent } from './file-content.js'
import { Ranges } from './ranges.js'
import { CONFLICTS } from './staging.js'

/** Below the root of a mount, where there is no local disk. */
const DIRECTORY_IN_STORE = `${RESERVED_DIRECTORY}/${CONFLICTS}`
/** Bytes put together at a time: what else is under way shares the memory, and a store's part may be longer than there is. */
const PIECE_BYTES = 1 << 20
/** Of the file's own name: with the rest, less than the 255 bytes that a name may have. */
const MAX_NAME_BYTES = 180
/** Two conflicts of one file within a second are told apart by it. */
const NONCE_BYTES = 4

/** Takes the contents from front to back. */
type Sink = (piece: Uint8Array) => Promise<void>

/** Resolves with the place where the content is kept, for the log. The caller sees to it that nothing changes the content meanwhile. */
export async function keepConflict(content: FileContent, error: Error): Promise<string> {
  const name = conflictName(content.source.path)
  const { staging } = content.source.account
  if (staging === null) return keepInStore(content, error, name)
  try {
    return await keepOnDisk(
      content,
      error,
      new DurableDirectory(path.join(staging.directory, CONFLICTS)),
      name,
    )
  } catch {
    // The disk is full, or broken.
    return keepInStore(content, error, name)
  }
}

/** What a person recognises, and no other conflict has. */
function conflictName(filePath: string): string {
  const second = new Date().toISOString().replace(/[-:]|\.\d+/g, '')
  const name = Buffer.from(filePath.slice(filePath.lastIndexOf('/') + 1)).subarray(0, MAX_NAME_BYTES)
  // A character that was cut in two is left out.
  return `${name.toString().replace(/\ufffd$/u, '')}.${second}-${randomBytes(NONCE_BYTES).toString('hex')}`
}

async function keepOnDisk(
  content: FileContent,
  error: Error,
  directory: DurableDirectory,
  name: string,
): Promise<string> {
  mkdirSync(directory.directory, { recursive: true, mode: 0o700 })
  const certain = new Ranges()
  await directory.put(name, (file) =>
    copyContent(content, certain, PIECE_BYTES, (piece) => file.write(piece)),
  )
  await directory.put(`${name}.json`, (file) => file.write(describe(content, error, certain)))
  return directory.pathOf(name)
}

async function keepInStore(content: FileContent, error: Error, name: string): Promise<string> {
  const { backend } = content.source
  await makeDirectory(backend)
  const certain = new Ranges()
  // A store that can't hold the name as it is takes the part of it that is ours.
  const ownName = backend.accepts(`${DIRECTORY_IN_STORE}/${name}.json`)
    ? name
    : name.slice(name.lastIndexOf('.') + 1)
  const target = `${DIRECTORY_IN_STORE}/${ownName}`
  await copyToStore(content, certain, target)
  await backend.write(`${target}.json`, describe(content, error, certain), null)
  return target
}

async function makeDirectory(backend: Backend): Promise<void> {
  for (const directory of [RESERVED_DIRECTORY, DIRECTORY_IN_STORE]) {
    try {
      await backend.createDirectory(directory)
    } catch (error) {
      // Some make it with the first file in it, and others have it already.
      if (!(error instanceof StorageError) || error.retryable) throw error
    }
  }
}

async function copyToStore(content: FileContent, certain: Ranges, target: string): Promise<void> {
  const { backend } = content.source
  const { partSizeBytes } = backend.capabilities
  if (content.size <= partSizeBytes) {
    let whole: Uint8Array = new Uint8Array(0)
    await copyContent(content, certain, partSizeBytes, (piece) => {
      whole = piece
      return Promise.resolve()
    })
    await backend.write(target, whole, null)
    return
  }
  const writer = await backend.createWriter(target, null)
  try {
    await copyContent(content, certain, partSizeBytes, (piece) => writer.write(piece))
    await writer.close()
  } catch (error) {
    await writer.abort()
    throw error
  }
}

/** Each piece is another one, and the sink's. */
async function copyContent(
  content: FileContent,
  certain: Ranges,
  pieceBytes: number,
  sink: Sink,
): Promise<void> {
  const { size } = content
  for (let start = 0; start < size; start += pieceBytes) {
    const piece = new Uint8Array(Math.min(pieceBytes, size - start))
    await fill(content, certain, piece, start)
    await sink(piece)
  }
}

async function fill(content: FileContent, certain: Ranges, piece: Uint8Array, start: number): Promise<void> {
  const end = start + piece.byteLength
  const missing = copyBlocks(content, certain, piece, start)
  for (const [low, high] of missing) {
    const baseEnd = Math.min(high, Math.max(low, content.baseLimit))
    if (low < baseEnd) await copyBase(content, certain, piece.subarray(low - start, baseEnd - start), low)
    if (content.reader.isHole(baseEnd, high)) certain.add(baseEnd, Math.min(high, end))
  }
}

/** Copy what is in memory; returns the pieces that are not. */
function copyBlocks(
  content: FileContent,
  certain: Ranges,
  piece: Uint8Array,
  start: number,
): (readonly [number, number])[] {
  const end = start + piece.byteLength
  const { pool } = content.cache
  const known = new Ranges()
  for (const block of content.pages.blocksFrom(start)) {
    if (block.offset >= end) break
    block.valid.forEachPiece(
      Math.max(block.offset, start),
      Math.min(block.end, end),
      (low, high, isValid) => {
        if (!isValid) return
        piece.set(pool.view(block.slabOffsetOf(low), high - low), low - start)
        known.add(low, high)
      },
    )
  }
  certain.addAll(known)
  const missing: (readonly [number, number])[] = []
  known.forEachPiece(start, end, (low, high, isKnown) => {
    if (!isKnown) missing.push([low, high])
  })
  return missing
}

/** What the store still has of the version that the guest's changes lie over. */
async function copyBase(
  content: FileContent,
  certain: Ranges,
  target: Uint8Array,
  start: number,
): Promise<void> {
  const { source, version } = content
  if (version === null || version === '') return
  try {
    for (let done = 0; done < target.byteLength; done += PIECE_BYTES) {
      const lengthBytes = Math.min(PIECE_BYTES, target.byteLength - done)
      const data = await source.account.fetchBudget.run(lengthBytes, () =>
        source.backend.read(source.path, start + done, lengthBytes, version),
      )
      target.set(data, done)
      dispose(data)
      certain.add(start + done, start + done + lengthBytes)
    }
  } catch {
    // It was replaced, which is why we are here.
  }
}

function describe(content: FileContent, error: Error, certain: Ranges): Buffer {
  const { source, version, size } = content
  const ranges = Array.from({ length: certain.count }, (_, i) => [certain.startOf(i), certain.endOf(i)])
  return Buffer.from(
    `${JSON.stringify({
      path: source.path,
      time: new Date().toISOString(),
      error: error.message,
      base: version,
      sizeBytes: size,
      certain: ranges,
      ...source.attributesToStage(),
    })}\n`,
  )
}
