/**
 * The form of a staged file: what one file of a store had that the store did not have yet. A record is written once, from
 * front to back, and counts when it is whole:
 *
 *     [dirty bytes, range after range][description: JSON][its length: u32][its CRC-32: u32]["OVFSSTG1"]
 *
 * Numbers are little-endian. The checksums tell a record that a crash of the host has left without its bytes.
 */
import { open, type FileHandle } from 'node:fs/promises'
import { crc32 } from 'node:zlib'
import type { FileAttributes, Timestamp } from '../backends/backend.js'

/** What changes while the bytes stay: kept beside the record, and written anew. */
export interface StagedPlace {
  /** Within the mount; two while a rename is under way, the newer one last. */
  readonly paths: readonly string[]
  /** Set by utimens, and still to be handed to the store. */
  readonly mtime: Timestamp | null
  /** undefined where the store keeps none. */
  readonly attributes: FileAttributes | undefined
}

export interface StagedDescription extends StagedPlace {
  /** Version of the stored object that the bytes lie over; null: there is none. */
  readonly base: string | null
  /** Whatever is stored by the name may be replaced. */
  readonly replacesAny: boolean
  readonly sizeBytes: number
  /** Bytes of the stored object that still show through; behind them, up to the size, are zeros. */
  readonly baseLimit: number
  /** [start, end) of the file, ascending; their bytes follow each other in the record. */
  readonly ranges: readonly (readonly [number, number])[]
  /** The record that this one is in place of: of two that a crash has left, this one counts. */
  readonly replaces: string | null
}

interface Description extends StagedDescription {
  readonly dataBytes: number
  readonly dataCrc: number
}

const MAGIC = Buffer.from('OVFSSTG1')
const TRAILER_BYTES = 8 + MAGIC.length
/** Bytes gathered before a write: few system calls, little memory. */
const GATHER_BYTES = 4 << 20
/** Longer descriptions are taken for garbage: a hundred thousand ranges have less. */
const MAX_DESCRIPTION_BYTES = 16 << 20

/** Write a new record to the file at `path`. `pieces` are the ranges' bytes; each is used up before the next is asked for. */
export async function writeRecord(
  path: string,
  description: StagedDescription,
  pieces: Iterable<Uint8Array>,
): Promise<void> {
  const handle = await open(path, 'wx', 0o600)
  try {
    let gathered: Uint8Array[] = []
    let gatheredBytes = 0
    let dataBytes = 0
    let dataCrc = 0
    for (const piece of pieces) {
      dataCrc = crc32(piece, dataCrc)
      dataBytes += piece.byteLength
      gathered.push(piece)
      gatheredBytes += piece.byteLength
      if (gatheredBytes < GATHER_BYTES) continue
      await writeAll(handle, gathered)
      gathered = []
      gatheredBytes = 0
    }
    await writeAll(handle, [...gathered, trailerOf({ ...description, dataBytes, dataCrc })])
  } finally {
    await handle.close()
  }
}

async function writeAll(handle: FileHandle, pieces: readonly Uint8Array[]): Promise<void> {
  const wanted = pieces.reduce((total, { byteLength }) => total + byteLength, 0)
  const { bytesWritten } = await handle.writev(pieces)
  // The kernel may take a part: as many bytes as there is room for, or as a call may have.
  if (bytesWritten < wanted) await handle.writeFile(Buffer.concat(pieces).subarray(bytesWritten))
}

function trailerOf(description: Description): Buffer {
  const json = Buffer.from(JSON.stringify(description))
  const numbers = Buffer.alloc(8)
  numbers.writeUInt32LE(json.length, 0)
  numbers.writeUInt32LE(crc32(json), 4)
  return Buffer.concat([json, numbers, MAGIC])
}

/** A record that was read back. */
export interface StagedRecord extends StagedDescription {
  readonly dataBytes: number
}

/** The description of the record in an open file; null where it is not whole: nobody was told that it was written. */
export async function readRecord(handle: FileHandle): Promise<StagedRecord | null> {
  const { size } = await handle.stat()
  if (size < TRAILER_BYTES) return null
  const trailer = await readAt(handle, size - TRAILER_BYTES, TRAILER_BYTES)
  const jsonBytes = trailer.readUInt32LE(0)
  const dataBytes = size - TRAILER_BYTES - jsonBytes
  if (!trailer.subarray(8).equals(MAGIC) || jsonBytes > MAX_DESCRIPTION_BYTES || dataBytes < 0) return null
  const json = await readAt(handle, dataBytes, jsonBytes)
  if (crc32(json) !== trailer.readUInt32LE(4)) return null
  const description = JSON.parse(json.toString()) as Description
  if (description.dataBytes !== dataBytes) return null
  return (await crcOf(handle, dataBytes)) === description.dataCrc ? description : null
}

async function crcOf(handle: FileHandle, dataBytes: number): Promise<number> {
  let crc = 0
  for (let position = 0; position < dataBytes; position += GATHER_BYTES) {
    crc = crc32(await readAt(handle, position, Math.min(GATHER_BYTES, dataBytes - position)), crc)
  }
  return crc
}

/** Exactly so many bytes. */
export async function readAt(handle: FileHandle, position: number, lengthBytes: number): Promise<Buffer> {
  const buffer = Buffer.allocUnsafe(lengthBytes)
  let done = 0
  while (done < lengthBytes) {
    const { bytesRead } = await handle.read(buffer, done, lengthBytes - done, position + done)
    if (bytesRead === 0) throw new Error(`a staged record ends at ${position + done}`)
    done += bytesRead
  }
  return buffer
}
