/** Reading staged records back; nothing is given out that the record's checksums don't vouch for. */
import { open, type FileHandle } from 'node:fs/promises'
import { crc32 } from 'node:zlib'
import {
  CHUNK_BYTES,
  FOOTER_BYTES,
  MAGIC,
  RANGE_BYTES,
  readNumber,
  type StagedDescription,
} from './staged-record.js'

/** The form of records before there were checksums of chunks: data, JSON, its length, its CRC-32, and this. */
const FIRST_MAGIC = Buffer.from('OVFSSTG1')
const FIRST_TRAILER_BYTES = 8 + FIRST_MAGIC.length

/** A record is not what was written: it was cut short, or the disk gives other bytes. */
export class BrokenRecordError extends Error {
  override readonly name = 'BrokenRecordError'
}

/** What the disk says of bytes that it can't give back, or of something that is no file: another try would end no other way. */
const UNREADABLE: ReadonlySet<string | undefined> = new Set(['EIO', 'EISDIR', 'EBADMSG', 'EUCLEAN'])

/** An error of reading a record as what it says of the record. */
export function asBroken(error: unknown): unknown {
  const { code } = error as NodeJS.ErrnoException
  return UNREADABLE.has(code)
    ? new BrokenRecordError('the disk does not give it back', { cause: error })
    : error
}

/** A description as it is read: older daemons wrote less of it. */
type Written = Partial<StagedDescription> & Omit<StagedDescription, 'expected' | 'marks' | 'next' | 'ranges'>

/** The numbers that lead to the parts of a record. */
interface Layout {
  readonly dataBytes: number
  readonly rangeCount: number
  readonly jsonBytes: number
  readonly bodyBytes: number
  readonly checksumBytes: number
}

/** The checked part of a record: data and ranges. */
class Body {
  private chunk: Buffer = Buffer.alloc(0)
  private chunkIndex = -1

  constructor(
    private readonly handle: FileHandle,
    private readonly lengthBytes: number,
    /** CRC-32 of each chunk; null in the first form, all of which is checked as it is opened. */
    private readonly checksums: Buffer | null,
  ) {}

  /** Calls must not overlap. */
  async read(position: number, lengthBytes: number): Promise<Buffer> {
    const target = Buffer.allocUnsafe(lengthBytes)
    for (let done = 0; done < lengthBytes;) {
      const from = position + done
      const index = Math.floor(from / CHUNK_BYTES)
      if (index !== this.chunkIndex) await this.load(index)
      const copied = this.chunk.copy(target, done, from - index * CHUNK_BYTES)
      if (copied === 0) throw new BrokenRecordError('it is too short')
      done += copied
    }
    return target
  }

  /** All of it, a chunk at a time. */
  async *chunks(): AsyncGenerator<Buffer> {
    for (let position = 0; position < this.lengthBytes; position += CHUNK_BYTES) {
      await this.load(position / CHUNK_BYTES)
      yield this.chunk
    }
  }

  private async load(index: number): Promise<void> {
    const start = index * CHUNK_BYTES
    this.chunkIndex = -1
    this.chunk = await readAt(
      this.handle,
      start,
      Math.max(0, Math.min(CHUNK_BYTES, this.lengthBytes - start)),
    )
    if (this.checksums !== null && crc32(this.chunk) !== this.checksums.readUInt32LE(index * 4))
      throw new BrokenRecordError(`its data from byte ${start} on is wrong`)
    this.chunkIndex = index
  }
}

/** An open record. */
export class RecordReader {
  private constructor(
    private readonly handle: FileHandle,
    readonly description: StagedDescription,
    readonly dataBytes: number,
    private readonly body: Body,
  ) {}

  /** @throws BrokenRecordError where it is not whole, as far as can be told without reading all of its data */
  static async open(recordPath: string): Promise<RecordReader> {
    const handle = await open(recordPath)
    try {
      const { size } = await handle.stat()
      const magic = await readAt(handle, size - MAGIC.length, MAGIC.length)
      if (magic.equals(FIRST_MAGIC)) return await RecordReader.openFirst(handle, size)
      if (!magic.equals(MAGIC)) throw new BrokenRecordError('it does not end as a record does')
      return await RecordReader.openPresent(handle, size)
    } catch (error) {
      await handle.close()
      throw error
    }
  }

  private static async openPresent(handle: FileHandle, sizeBytes: number): Promise<RecordReader> {
    const footer = await readAt(handle, sizeBytes - FOOTER_BYTES, FOOTER_BYTES)
    const { dataBytes, rangeCount, bodyBytes, checksumBytes, jsonBytes } = layoutOf(footer, sizeBytes)
    const checksums = await readAt(handle, bodyBytes, checksumBytes)
    const json = await readAt(handle, bodyBytes + checksumBytes, jsonBytes)
    if (crc32(checksums) !== footer.readUInt32LE(20)) throw new BrokenRecordError('its checksums are wrong')
    if (crc32(json) !== footer.readUInt32LE(24)) throw new BrokenRecordError('its description is wrong')
    const body = new Body(handle, bodyBytes, checksums)
    const ranges = decodeRanges(await body.read(dataBytes, rangeCount * RANGE_BYTES))
    return new RecordReader(handle, complete(parseJson(json), ranges, dataBytes), dataBytes, body)
  }

  private static async openFirst(handle: FileHandle, sizeBytes: number): Promise<RecordReader> {
    const trailer = await readAt(handle, sizeBytes - FIRST_TRAILER_BYTES, FIRST_TRAILER_BYTES)
    const jsonBytes = trailer.readUInt32LE(0)
    const dataBytes = sizeBytes - FIRST_TRAILER_BYTES - jsonBytes
    const json = await readAt(handle, dataBytes, jsonBytes)
    if (crc32(json) !== trailer.readUInt32LE(4)) throw new BrokenRecordError('its description is wrong')
    const written = parseJson(json) as Written & { readonly dataBytes: number; readonly dataCrc: number }
    if (written.dataBytes !== dataBytes) throw new BrokenRecordError('it has another length')
    const body = new Body(handle, dataBytes, null)
    let crc = 0
    for await (const chunk of body.chunks()) crc = crc32(chunk, crc)
    if (crc !== written.dataCrc) throw new BrokenRecordError('its data is wrong')
    return new RecordReader(handle, complete(written, written.ranges ?? [], dataBytes), dataBytes, body)
  }

  /** Read everything once. @throws BrokenRecordError */
  async verify(): Promise<void> {
    const chunks = this.body.chunks()
    while ((await chunks.next()).done !== true);
  }

  /** Bytes of the data, from `position` of it on. Calls must not overlap. @throws BrokenRecordError */
  read(position: number, lengthBytes: number): Promise<Buffer> {
    return this.body.read(position, lengthBytes)
  }

  close(): Promise<void> {
    return this.handle.close()
  }
}

function layoutOf(footer: Buffer, sizeBytes: number): Layout {
  if (crc32(footer.subarray(0, 28)) !== footer.readUInt32LE(28))
    throw new BrokenRecordError('its footer is wrong')
  const dataBytes = readNumber(footer, 0)
  const rangeCount = readNumber(footer, 8)
  const jsonBytes = footer.readUInt32LE(16)
  const bodyBytes = dataBytes + rangeCount * RANGE_BYTES
  const checksumBytes = 4 * Math.ceil(bodyBytes / CHUNK_BYTES)
  if (bodyBytes + checksumBytes + jsonBytes + FOOTER_BYTES !== sizeBytes)
    throw new BrokenRecordError('it has another length')
  return { dataBytes, rangeCount, jsonBytes, bodyBytes, checksumBytes }
}

function parseJson(json: Buffer): Written {
  try {
    return JSON.parse(json.toString()) as Written
  } catch (error) {
    throw new BrokenRecordError('its description is no JSON', { cause: error })
  }
}

function decodeRanges(bytes: Buffer): [number, number][] {
  const ranges: [number, number][] = []
  for (let offset = 0; offset < bytes.length; offset += RANGE_BYTES) {
    ranges.push([readNumber(bytes, offset), readNumber(bytes, offset + RANGE_BYTES / 2)])
  }
  return ranges
}

/** With what older daemons did not write, as they meant it. */
function complete(
  written: Written,
  ranges: readonly (readonly [number, number])[],
  dataBytes: number,
): StagedDescription {
  let describedBytes = 0
  let position = 0
  for (const [start, end] of ranges) {
    if (start < position || end <= start) throw new BrokenRecordError('its ranges are out of order')
    describedBytes += end - start
    position = end
  }
  if (describedBytes !== dataBytes) throw new BrokenRecordError('its ranges are of other bytes')
  const { expected = written.base, marks = [], next = null } = written
  return { ...written, ranges, expected, marks, next }
}

/** Exactly so many bytes. */
async function readAt(handle: FileHandle, position: number, lengthBytes: number): Promise<Buffer> {
  if (position < 0 || lengthBytes < 0) throw new BrokenRecordError('it is too short')
  const buffer = Buffer.allocUnsafe(lengthBytes)
  let done = 0
  while (done < lengthBytes) {
    const { bytesRead } = await readOnce(handle, buffer, done, position + done)
    if (bytesRead === 0) throw new BrokenRecordError('it is too short')
    done += bytesRead
  }
  return buffer
}

async function readOnce(
  handle: FileHandle,
  buffer: Buffer,
  done: number,
  position: number,
): Promise<{ readonly bytesRead: number }> {
  try {
    return await handle.read(buffer, done, buffer.byteLength - done, position)
  } catch (error) {
    throw asBroken(error)
  }
}
