/**
 * The form of a staged file: what one file of a store had that the store did not have yet. A record is written once, from
 * front to back, and counts when it is whole:
 *
 *     data          the dirty bytes, range after range
 *     ranges        for each: its start and its end in the file, u64 each
 *     checksums     CRC-32 of each MiB of the above, u32 each
 *     description   JSON
 *     footer        bytes of data: u64, number of ranges: u64, bytes of the description: u32, CRC-32 of the checksums: u32,
 *                   of the description: u32, of the footer up to here: u32, "OVFSSTG2"
 *
 * Numbers are little-endian. See `RecordReader`.
 */
import { crc32 } from 'node:zlib'
import type { FileAttributes, Timestamp, WriteMark } from '../backends/backend.js'
import type { NewFile } from './durable-directory.js'

export const MAGIC = Buffer.from('OVFSSTG2')
export const FOOTER_BYTES = 32 + MAGIC.length
export const RANGE_BYTES = 16
/** What one checksum is over: read and checked in one piece. */
export const CHUNK_BYTES = 1 << 20
/** Bytes gathered before a write, whole chunks: few system calls, little memory. */
const GATHER_BYTES = 4 << 20
/** Beyond 32 bits a number takes two words. */
const WORD = 2 ** 32

/** Of the file, beside its contents. */
export interface StagedAttributes {
  /** Set by utimens, and still to be handed to the store. */
  readonly mtime: Timestamp | null
  /** undefined where the store keeps none. */
  readonly attributes: FileAttributes | undefined
}

/** What changes while the bytes stay: kept beside the record, and written anew. */
export interface StagedPlace extends StagedAttributes {
  /** Within the mount; two while a rename is under way, the newer one last. */
  readonly paths: readonly string[]
  /** Version of the stored object that the bytes lie over; null: there is none. */
  readonly base: string | null
  /** What a commit may replace: a version, or null for nothing. */
  readonly expected: string | null
  /** Writes of this file whose outcome is unknown: an object with one of them is its base. */
  readonly marks: readonly WriteMark[]
  /** The next commit takes it: an object with it has all that is in the record. null: it takes any other. */
  readonly next: WriteMark | null
  /** When it was amended: ordered as the ids of records are. Absent: with its record, or by an older daemon. */
  readonly amended?: string
  /** Whatever is stored by the name may be replaced: a rename here has put the file over it. */
  readonly replacesAny?: boolean
}

export interface StagedDescription extends StagedPlace {
  readonly sizeBytes: number
  /** Of the stored object; absent in records of older daemons. */
  readonly baseBytes?: number
  /** Bytes of the stored object that still show through; behind them, up to the size, are zeros. */
  readonly baseLimit: number
  /** [start, end) of the file, ascending; their bytes follow each other in the record. */
  readonly ranges: readonly (readonly [number, number])[]
  /** The record that this one is in place of: of two that a crash has left, this one counts. */
  readonly replaces: string | null
}

/** Write a record to a new file. `pieces` are the ranges' bytes, which are copied before the next is asked for. */
export async function writeRecord(
  file: NewFile,
  { ranges, ...description }: StagedDescription,
  pieces: Iterable<Uint8Array>,
): Promise<void> {
  const dataBytes = ranges.reduce((total, [start, end]) => total + end - start, 0)
  const body = new BodyWriter(file, dataBytes + ranges.length * RANGE_BYTES)
  for (const piece of pieces) {
    body.append(piece)
    // Very many pieces may be a byte long each.
    if (body.isFull) await body.flush()
  }
  if (body.writtenBytes !== dataBytes)
    throw new Error('a staged record is given other bytes than it tells of')
  for (let first = 0; first < ranges.length; first += RANGES_AT_A_TIME) {
    body.append(encodeRanges(ranges.slice(first, first + RANGES_AT_A_TIME)))
    if (body.isFull) await body.flush()
  }
  const checksums = await body.end()
  const json = Buffer.from(JSON.stringify(description))
  await file.write(Buffer.concat([checksums, json, footerOf(dataBytes, ranges.length, json, checksums)]))
}

/** 64 KiB of them. */
const RANGES_AT_A_TIME = 4096

function encodeRanges(ranges: readonly (readonly [number, number])[]): Buffer {
  const bytes = Buffer.allocUnsafe(ranges.length * RANGE_BYTES)
  ranges.forEach(([start, end], index) => {
    writeNumber(bytes, start, index * RANGE_BYTES)
    writeNumber(bytes, end, index * RANGE_BYTES + RANGE_BYTES / 2)
  })
  return bytes
}

/** As a u64, without the BigInts that Buffer's own methods take. */
function writeNumber(bytes: Buffer, value: number, offset: number): void {
  bytes.writeUInt32LE(value % WORD, offset)
  bytes.writeUInt32LE(Math.floor(value / WORD), offset + 4)
}

export function readNumber(bytes: Buffer, offset: number): number {
  return bytes.readUInt32LE(offset + 4) * WORD + bytes.readUInt32LE(offset)
}

function footerOf(dataBytes: number, rangeCount: number, json: Buffer, checksums: Buffer): Buffer {
  const footer = Buffer.alloc(FOOTER_BYTES)
  writeNumber(footer, dataBytes, 0)
  writeNumber(footer, rangeCount, 8)
  footer.writeUInt32LE(json.length, 16)
  footer.writeUInt32LE(crc32(checksums), 20)
  footer.writeUInt32LE(crc32(json), 24)
  footer.writeUInt32LE(crc32(footer.subarray(0, 28)), 28)
  MAGIC.copy(footer, 32)
  return footer
}

/** Gathers what it is given, and counts up its checksums. */
class BodyWriter {
  writtenBytes = 0
  private gathered: Buffer
  private gatheredBytes = 0
  private readonly checksums: number[] = []

  /** `totalBytes`: how much there will be. */
  constructor(
    private readonly file: NewFile,
    totalBytes: number,
  ) {
    this.gathered = Buffer.allocUnsafe(Math.min(totalBytes, GATHER_BYTES))
  }

  append(piece: Uint8Array): void {
    const needed = this.gatheredBytes + piece.byteLength
    if (needed > this.gathered.length) this.grow(needed)
    this.gathered.set(piece, this.gatheredBytes)
    this.gatheredBytes = needed
    this.writtenBytes += piece.byteLength
  }

  /** A piece is no longer than a slab, so this stays within a few times GATHER_BYTES. */
  private grow(lengthBytes: number): void {
    const grown = Buffer.allocUnsafe(lengthBytes)
    this.gathered.copy(grown, 0, 0, this.gatheredBytes)
    this.gathered = grown
  }

  get isFull(): boolean {
    return this.gatheredBytes >= GATHER_BYTES
  }

  /** Write the whole chunks. */
  flush(): Promise<void> {
    return this.flushBytes(this.gatheredBytes - (this.gatheredBytes % CHUNK_BYTES))
  }

  private async flushBytes(lengthBytes: number): Promise<void> {
    const bytes = this.gathered.subarray(0, lengthBytes)
    for (let start = 0; start < lengthBytes; start += CHUNK_BYTES) {
      this.checksums.push(crc32(bytes.subarray(start, start + CHUNK_BYTES)))
    }
    await this.file.write(bytes)
    this.gathered.copyWithin(0, lengthBytes, this.gatheredBytes)
    this.gatheredBytes -= lengthBytes
  }

  /** Write the rest; returns all checksums. */
  async end(): Promise<Buffer> {
    if (this.gatheredBytes > 0) await this.flushBytes(this.gatheredBytes)
    const bytes = Buffer.allocUnsafe(this.checksums.length * 4)
    this.checksums.forEach((checksum, index) => bytes.writeUInt32LE(checksum, index * 4))
    return bytes
  }
}
