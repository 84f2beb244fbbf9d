import type { ReadSink, WriteSource } from '../cache/content-source.js'
import { FsError } from '../fs/fs-error.js'
import type { HostData } from '../passthrough/files.js'
import type { NameBytes } from '../passthrough/names.js'
import { decodeName } from '../fs/names.js'
import type { Arena } from '../virtio/arena.js'
import type { DeferredReplies } from '../virtio/deferred-replies.js'
import type { OperationCounters } from '../observability/operation-counters.js'
import { IN_HEADER_BYTES, Opcode, OUT_HEADER_BYTES } from './fuse-abi.js'
import {
  FLAG_WAITED,
  META_ERROR,
  META_FLAGS,
  META_READABLE_BYTES,
  META_REPLY_BYTES,
  META_WRITABLE_BYTES,
  REQUEST_STRIDE_BYTES,
  type NativeDevice,
} from '../virtio/native.js'

const TWO_TO_32 = 2 ** 32
const NUL = 0
const DOT = 0x2e

/** struct fuse_read_in.size and fuse_write_in.size. */
const SIZE_OFFSET = 16

/** WRITE's payload stands behind the header and fuse_write_in (40 bytes). */
const WRITE_PAYLOAD_OFFSET = IN_HEADER_BYTES + 40

/**
 * One request in its slot: reads the arguments, writes the reply. There is one object for each slot, made once and
 * reused, so it is only valid until its request is completed.
 *
 * Arguments are addressed by their byte offset behind the fuse_in_header, as in <linux/fuse.h>.
 */
export class Request implements ReadSink, WriteSource, HostData {
  /** Of the fuse_in_header: the others of it are read where they are wanted, this one several times. */
  opcode = 0
  /** The errno that it is answered with, positive; 0: none. */
  errno = 0
  /** The session that the request belongs to; see Session. */
  epoch = 0
  /** Whose counters it goes into if it is not answered with its burst; null: it is not counted. */
  counters: OperationCounters | null = null
  /** Monotonic ms at which it came; only of those that are not answered at once. */
  startMs = 0
  /** Bytes of data that the reply has so far. */
  deliveredBytes = 0
  private readonly words: Uint32Array
  private readonly argsWord: number
  private readonly headerWord: number
  private readonly replyWord: number
  private readonly metaWord: number

  constructor(
    readonly slot: number,
    private readonly arena: Arena,
    private readonly device: NativeDevice,
    private readonly deferred: DeferredReplies,
  ) {
    this.words = arena.words
    this.headerWord = arena.requestWordOf(slot)
    this.argsWord = this.headerWord + IN_HEADER_BYTES / 4
    this.replyWord = arena.replyWordOf(slot)
    this.metaWord = arena.metaWordOf(slot)
  }

  /** Another request has come in the slot. */
  begin(epoch: number): void {
    this.opcode = this.words[this.headerWord + 1] as number
    this.errno = 0
    this.epoch = epoch
    this.deliveredBytes = 0
  }

  // ---- fuse_in_header

  get nodeid(): number {
    return (
      (this.words[this.headerWord + 4] as number) + (this.words[this.headerWord + 5] as number) * TWO_TO_32
    )
  }

  /** Whose process asks, in the guest's ids. */
  get uid(): number {
    return this.words[this.headerWord + 6] as number
  }

  get gid(): number {
    return this.words[this.headerWord + 7] as number
  }

  /** The process's, in the guest. */
  get pid(): number {
    return this.words[this.headerWord + 8] as number
  }

  /** Of what stands behind the arguments: see `creation.ts`. In the header it is counted in words of 8 bytes. */
  get extensionBytes(): number {
    return ((this.words[this.headerWord + 9] as number) & 0xffff) * 8
  }

  // ---- arguments

  /** Bytes of the readable part behind the header; only the first REQUEST_STRIDE_BYTES of the whole are in the arena. */
  get argumentBytes(): number {
    return (this.words[this.metaWord + META_READABLE_BYTES] as number) - IN_HEADER_BYTES
  }

  /** Room for a reply behind the fuse_out_header; below 0 when not even that fits. */
  get replyCapacityBytes(): number {
    return (this.words[this.metaWord + META_WRITABLE_BYTES] as number) - OUT_HEADER_BYTES
  }

  /** EINVAL when the request is shorter than its arguments or has no room for the reply. */
  require(argumentBytes: number, replyBytes: number): void {
    if (this.argumentBytes < argumentBytes)
      throw new FsError('EINVAL', 'a request is shorter than its arguments')
    if (this.replyCapacityBytes < replyBytes)
      throw new FsError('EINVAL', 'a request has no room for its reply')
  }

  u32(offset: number): number {
    return this.words[this.argsWord + (offset >> 2)] as number
  }

  /** A 64-bit value as a double: exact up to 2^53, and above it still too large for anything we compare it with. */
  u64(offset: number): number {
    return this.u32(offset) + this.u32(offset + 4) * TWO_TO_32
  }

  /** A signed 64-bit value (seconds of a time). */
  i64(offset: number): number {
    return this.u32(offset) + (this.u32(offset + 4) | 0) * TWO_TO_32
  }

  /** The NUL-terminated name at `offset`. ENAMETOOLONG or EINVAL for what can't be one. */
  name(offset: number): string {
    const start = this.headerByte + IN_HEADER_BYTES + offset
    return decodeName(this.arena.bytes, start, this.endOfName(offset))
  }

  /** The same as bytes in the arena, not looked at yet. EINVAL for one without an end. */
  nameBytes(offset: number): NameBytes {
    const start = this.headerByte + IN_HEADER_BYTES + offset
    return { bytes: this.arena.bytes, start, length: this.endOfName(offset) - start }
  }

  /** 1 and 2 where the name at `offset` is "." or "..", which are no names of entries; else 0. */
  dots(offset: number): 0 | 1 | 2 {
    const { bytes } = this.arena
    const start = this.headerByte + IN_HEADER_BYTES + offset
    if (bytes[start] !== DOT) return 0
    if (bytes[start + 1] === NUL) return 1
    return bytes[start + 1] === DOT && bytes[start + 2] === NUL ? 2 : 0
  }

  /** The offset behind the name at `offset` and its NUL: where a second one stands. */
  offsetBehindName(offset: number): number {
    return this.endOfName(offset) + 1 - this.headerByte - IN_HEADER_BYTES
  }

  private get headerByte(): number {
    return this.headerWord * 4
  }

  private endOfName(offset: number): number {
    const { bytes } = this.arena
    const wholeBytes = this.argumentBytes + IN_HEADER_BYTES
    const end = this.headerByte + Math.min(wholeBytes, REQUEST_STRIDE_BYTES)
    for (let position = this.headerByte + IN_HEADER_BYTES + offset; position < end; position++) {
      if (bytes[position] === NUL) return position
    }
    // The arena holds two names of the greatest length, so what does not end in it is too long.
    throw new FsError(wholeBytes > REQUEST_STRIDE_BYTES ? 'ENAMETOOLONG' : 'EINVAL')
  }

  // ---- data

  /** WriteSource: bytes of a WRITE's payload into the pool. EIO when they are not there (the front-end is gone). */
  pull(offset: number, poolOffset: number, lengthBytes: number): void {
    if (this.device.pull(this.slot, WRITE_PAYLOAD_OFFSET + offset, poolOffset, lengthBytes) !== lengthBytes) {
      throw new FsError('EIO', 'the front-end took its memory away')
    }
  }

  /** Bytes of arguments beyond the arena: a list of forgets. False when they are not there. */
  pullArguments(offset: number, target: Uint8Array): boolean {
    return this.device.pullBytes(this.slot, IN_HEADER_BYTES + offset, target) === target.byteLength
  }

  /** ReadSink: data of the reply out of the pool. What does not fit is the guest's loss; READ's size was checked. */
  push(poolOffset: number, lengthBytes: number): void {
    this.deliveredBytes += lengthBytes
    if (this.deferred.name(this.slot, poolOffset, lengthBytes)) return
    this.deferred.copyNow()
    this.device.push(this.slot, poolOffset, lengthBytes)
  }

  pushZeros(lengthBytes: number): void {
    this.deliveredBytes += lengthBytes
    this.deferred.copyNow()
    this.device.pushZeros(this.slot, lengthBytes)
  }

  pushBytes(source: Uint8Array, lengthBytes: number): void {
    this.deliveredBytes += lengthBytes
    this.deferred.copyNow()
    this.device.pushBytes(this.slot, source, lengthBytes)
  }

  // ---- HostData: between files of the host and the request's memory

  readFile(fd: number, offset: number, lengthBytes: number): number {
    const result = this.device.readFile(this.slot, fd, offset, lengthBytes)
    if (result > 0) this.deliveredBytes += result
    return result
  }

  async readFileLater(fd: number, offset: number, lengthBytes: number): Promise<number> {
    const result = await this.device.readFileLater(this.slot, fd, offset, lengthBytes)
    if (result > 0) this.deliveredBytes += result
    return result
  }

  writeFile(
    fd: number,
    from: number,
    offset: number,
    lengthBytes: number,
    how: number,
    mayWait: boolean,
  ): number {
    const payloadOffset = WRITE_PAYLOAD_OFFSET + from
    return this.device.writeFile(this.slot, fd, offset, lengthBytes, payloadOffset, how, mayWait ? 1 : 0)
  }

  takeWaited(): boolean {
    const flags = this.words[this.metaWord + META_FLAGS] as number
    this.words[this.metaWord + META_FLAGS] = flags & ~FLAG_WAITED
    return (flags & FLAG_WAITED) !== 0
  }

  writeFileLater(
    fd: number,
    from: number,
    offset: number,
    lengthBytes: number,
    how: number,
  ): Promise<number> {
    const payloadOffset = WRITE_PAYLOAD_OFFSET + from
    return this.device.writeFileLater(this.slot, fd, offset, lengthBytes, payloadOffset, how)
  }

  // ---- reply

  /** Answer with an errno (positive). */
  refuse(errno: number): void {
    this.errno = errno
    this.words[this.metaWord + META_ERROR] = -errno
  }

  /** Announce the reply's length and return the word at which it is to be written; all of it is zero. */
  beginReply(lengthBytes: number): number {
    this.words[this.metaWord + META_REPLY_BYTES] = lengthBytes
    const { words, replyWord } = this
    const end = replyWord + (lengthBytes >> 2)
    // TypedArray's fill() is a call out of the compiled code, which takes longer than these few words.
    for (let word = replyWord; word < end; word++) words[word] = 0
    return replyWord
  }

  /** The arena's words, for the encoders of `encode.ts`. */
  get replyWords(): Uint32Array {
    return this.words
  }

  put32(word: number, value: number): void {
    this.words[word] = value
  }

  // ---- for those who look at it from outside

  /** The reply's word, once its handling is over. */
  replyWordAt(index: number): number {
    return this.words[this.replyWord + index] as number
  }

  /** What it has read or written of a file's data; its handling is over. */
  get dataBytes(): number {
    const { opcode } = this
    if (this.errno !== 0) return 0
    if (opcode === Opcode.READ) return this.deliveredBytes
    const isCopy = opcode === Opcode.COPY_FILE_RANGE || opcode === Opcode.COPY_FILE_RANGE_64
    return opcode === Opcode.WRITE || isCopy ? this.replyWordAt(0) : 0
  }

  /** READ and WRITE: make it one of fewer bytes. */
  shorten(sizeBytes: number): void {
    this.words[this.argsWord + SIZE_OFFSET / 4] = sizeBytes
  }
}
