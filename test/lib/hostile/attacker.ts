/**
 * A guest that sends every opcode with arguments that a kernel never would: cut short, overlong, random, with nodeids
 * and handles that it does not have, lengths that lie and reply buffers that are too small.
 *
 * What it holds the daemon to is only what every device owes every driver: each chain is used once, and what stands in
 * the writable part is a well-formed reply to this very request, or nothing.
 */
import {
  O_APPEND,
  O_CREAT,
  O_DSYNC,
  O_EXCL,
  O_RDWR,
  O_TRUNC,
  Opcode,
  PAGE_BYTES,
  S_IFDIR,
  S_IFREG,
  StructBytes,
} from '../../frontend/abi.js'
import type { FuseClient } from '../../frontend/fuse-client.js'
import { Reader, readDirentsPlus, Writer } from '../../frontend/fuse-structs.js'
import type { Random } from './random.js'

const GOOD_NAMES = ['a', 'b', 'c', 'd', 'e', 'ü', 'n'.repeat(255)]
const ODD_NAMES = [
  ...['.', '..', '', '.ovfsd', 'x ', 'n'.repeat(256), 'a/b', 'q'.repeat(5000), 'm', 'memory', 'ro', 'deep'],
]
/** What changes the most, so that there is something to break. */
const FREQUENT_OPCODES = [
  ...[
    Opcode.LOOKUP,
    Opcode.CREATE,
    Opcode.CREATE,
    Opcode.MKDIR,
    Opcode.OPEN,
    Opcode.READ,
    Opcode.WRITE,
    Opcode.WRITE,
  ],
  ...[
    Opcode.RENAME,
    Opcode.RENAME2,
    Opcode.UNLINK,
    Opcode.SETATTR,
    Opcode.FLUSH,
    Opcode.RELEASE,
    Opcode.FORGET,
  ],
  ...[Opcode.FALLOCATE, Opcode.OPENDIR, Opcode.READDIR, Opcode.READDIRPLUS, Opcode.FSYNC],
]
const DIRECTORY_OPCODES: readonly number[] = [
  ...[Opcode.READDIR, Opcode.READDIRPLUS, Opcode.RELEASEDIR, Opcode.FSYNCDIR],
]
const KNOWN_LIMIT = 64

const U64_BORDERS = [
  0n,
  1n,
  2n,
  3n,
  0x7fff_ffffn,
  0xffff_ffffn,
  1n << 32n,
  1n << 53n,
  (1n << 53n) - 1n,
  1n << 62n,
  (1n << 63n) - 1n,
  1n << 63n,
  (1n << 64n) - 1n,
]
const U32_BORDERS = [
  0,
  1,
  2,
  7,
  8,
  24,
  40,
  152,
  4095,
  4096,
  65_536,
  1 << 20,
  (1 << 20) + 1,
  0x7fff_ffff,
  0x8000_0000,
  0xffff_ffff,
]
/** Files stay this small, or what is asked for is past what any file may have: zeros up to a petabyte would be a test of the disk. */
const SMALL_FILE_BYTES = 1 << 20
const TOO_FAR = [1n << 53n, (1n << 53n) + 1n, 1n << 62n, (1n << 63n) - 1n, 1n << 63n, (1n << 64n) - 1n]

interface Attempt {
  readonly opcode: number
  readonly nodeid: bigint
  readonly payload: Uint8Array
  /** Room behind the fuse_out_header; null: no writable descriptor at all; negative: not even room for the header. */
  readonly replyBytes: number | null
}

/** Bytes of the reply's struct by opcode; what is not here has none. */
const REPLY_BYTES: Readonly<Record<number, number>> = {
  [Opcode.LOOKUP]: StructBytes.entry_out,
  [Opcode.GETATTR]: StructBytes.attr_out,
  [Opcode.SETATTR]: StructBytes.attr_out,
  [Opcode.SYMLINK]: StructBytes.entry_out,
  [Opcode.LINK]: StructBytes.entry_out,
  [Opcode.MKNOD]: StructBytes.entry_out,
  [Opcode.MKDIR]: StructBytes.entry_out,
  [Opcode.OPEN]: StructBytes.open_out,
  [Opcode.OPENDIR]: StructBytes.open_out,
  [Opcode.CREATE]: StructBytes.entry_out + StructBytes.open_out,
  [Opcode.WRITE]: StructBytes.write_out,
  [Opcode.STATFS]: StructBytes.statfs_out,
  [Opcode.INIT]: StructBytes.init_out,
  [Opcode.LSEEK]: StructBytes.lseek_out,
  [Opcode.READ]: 8192,
  [Opcode.READDIR]: 4096,
  [Opcode.READDIRPLUS]: 4096,
  [Opcode.READLINK]: 4096,
  [Opcode.GETXATTR]: 256,
  [Opcode.LISTXATTR]: 256,
  [Opcode.COPY_FILE_RANGE]: StructBytes.write_out,
}

export class Attacker {
  readonly #client: FuseClient
  readonly #random: Random
  readonly #queues: number
  /** What the daemon has given us, so that not everything fails at the first check. */
  readonly #nodeids: bigint[] = [1n]
  readonly #fhs: bigint[] = []
  readonly #directoryFhs: bigint[] = []

  constructor(client: FuseClient, random: Random, queues: number) {
    this.#client = client
    this.#random = random
    this.#queues = queues
  }

  /** Learn a nodeid or a handle that a well-behaved guest would have. */
  learn(nodeid: bigint, fh?: bigint): void {
    if (nodeid !== 0n) this.#remember(this.#nodeids, nodeid)
    if (fh !== undefined) this.#remember(this.#fhs, fh)
  }

  /** Send one request; resolves when it is answered. Rejects with DeviceError when the answer breaks the rules. */
  async attack(): Promise<void> {
    const attempt = this.#attempt()
    const random = this.#random
    const unique = BigInt(random.below(2 ** 32)) * 2n
    const whole = StructBytes.in_header + attempt.payload.length
    const headerLen = random.oneIn(20)
      ? random.pick([0, 39, 40, whole - 1, whole + 1, whole + PAGE_BYTES, 0xffff_ffff])
      : whole
    const header = new Writer()
      .u32(headerLen)
      .u32(attempt.opcode)
      .u64(unique)
      .u64(attempt.nodeid)
      .u32(random.below(2 ** 32))
      .u32(random.below(2 ** 32))
      .u32(random.below(2 ** 32))
      .u32(0)
      .done()
    let readable: Uint8Array = Buffer.concat([header, attempt.payload])
    if (random.oneIn(50)) readable = readable.subarray(0, random.below(readable.length + 1))
    const writable = attempt.replyBytes === null ? 0 : StructBytes.out_header + attempt.replyBytes
    if (readable.length === 0 && writable === 0) return
    const result = await this.#client.front.submit(random.below(this.#queues), {
      readable,
      readableSizes: this.#pieces(readable.length),
      writableSizes: this.#pieces(writable),
    })
    const headerArrived = readable.length >= 16
    this.#check(attempt, result.usedBytes, result.data, headerArrived ? unique : undefined)
  }

  #check(attempt: Attempt, usedBytes: number, data: Uint8Array, unique: bigint | undefined): void {
    if (usedBytes === 0) return
    const what = `opcode ${attempt.opcode}, ${usedBytes} bytes`
    if (usedBytes < StructBytes.out_header) throw new Error(`less than a header: ${what}`)
    const reader = new Reader(data)
    const length = reader.u32()
    const error = reader.i32()
    const answered = reader.big()
    if (length !== usedBytes) throw new Error(`len ${length}: ${what}`)
    if (error > 0 || error <= -512) throw new Error(`error ${error}: ${what}`)
    if (error !== 0 && usedBytes !== StructBytes.out_header)
      throw new Error(`data beside error ${error}: ${what}`)
    if (unique !== undefined && answered !== unique)
      throw new Error(`unique ${answered}, not ${unique}: ${what}`)
    if (error === 0) this.#learnFrom(attempt.opcode, data.subarray(StructBytes.out_header))
  }

  #learnFrom(opcode: number, reply: Uint8Array): void {
    const view = Buffer.from(reply)
    switch (opcode) {
      case Opcode.LOOKUP:
      case Opcode.MKNOD:
      case Opcode.MKDIR:
        if (view.length >= StructBytes.entry_out) this.learn(view.readBigUInt64LE(0))
        return
      case Opcode.CREATE:
        if (view.length >= StructBytes.entry_out + 8) {
          this.learn(view.readBigUInt64LE(0), view.readBigUInt64LE(StructBytes.entry_out))
        }
        return
      case Opcode.OPEN:
        if (view.length >= 8) this.learn(0n, view.readBigUInt64LE(0))
        return
      case Opcode.OPENDIR:
        if (view.length >= 8) this.#remember(this.#directoryFhs, view.readBigUInt64LE(0))
        return
      case Opcode.READDIRPLUS:
        for (const { entry } of readDirentsPlus(reply)) this.learn(BigInt(entry.nodeid))
        return
      case Opcode.INIT:
        this.#nodeids.length = 1
        this.#fhs.length = 0
        this.#directoryFhs.length = 0
    }
  }

  #remember(list: bigint[], value: bigint): void {
    if (list.length < KNOWN_LIMIT) list.push(value)
    else list[this.#random.below(KNOWN_LIMIT)] = value
  }

  // ---- making requests up

  #attempt(): Attempt {
    const random = this.#random
    const opcode = random.oneIn(25)
      ? random.pick([0, 7, 19, 31, 37, 48, 49, 51, 63, 64, 4096, 0xffff_ffff])
      : this.#opcode()
    const payload = this.#mutate(this.#payload(opcode))
    return { opcode, nodeid: this.#nodeid(), payload, replyBytes: this.#replyRoom(opcode) }
  }

  #opcode(): number {
    const random = this.#random
    const opcode = random.oneIn(3) ? random.pick(Object.values(Opcode)) : random.pick(FREQUENT_OPCODES)
    // A session that ends at every turn has nothing in it that could break.
    const ends = opcode === Opcode.INIT || opcode === Opcode.DESTROY
    return ends && !random.oneIn(10) ? Opcode.LOOKUP : opcode
  }

  #replyRoom(opcode: number): number | null {
    const random = this.#random
    const right = REPLY_BYTES[opcode] ?? 0
    const isSilent = opcode === Opcode.FORGET || opcode === Opcode.BATCH_FORGET || opcode === Opcode.INTERRUPT
    if (!random.oneIn(4)) return isSilent ? null : right
    return random.pick([null, 0, 1, 7, right, Math.max(0, right - 1), right + 1, right + 4096, -1, -15])
  }

  #nodeid(): bigint {
    const random = this.#random
    return random.oneIn(8) ? this.#u64() : random.pick(this.#nodeids)
  }

  #fh(opcode = 0): bigint {
    const random = this.#random
    const fhs = DIRECTORY_OPCODES.includes(opcode) && !random.oneIn(8) ? this.#directoryFhs : this.#fhs
    return fhs.length === 0 || random.oneIn(8) ? this.#u64() : random.pick(fhs)
  }

  #u64(): bigint {
    const random = this.#random
    if (random.oneIn(2)) return random.pick(U64_BORDERS)
    return random.oneIn(2)
      ? BigInt(random.below(100))
      : (BigInt(random.below(2 ** 32)) << 32n) | BigInt(random.below(2 ** 32))
  }

  #u32(): number {
    const random = this.#random
    return random.oneIn(2) ? random.pick(U32_BORDERS) : random.below(2 ** 32)
  }

  /** An offset or a size that makes no large file: small, or refused. */
  #offset(): bigint {
    const random = this.#random
    return random.oneIn(4) ? random.pick(TOO_FAR) : BigInt(random.below(SMALL_FILE_BYTES))
  }

  #size(): number {
    const random = this.#random
    return random.oneIn(3) ? this.#u32() : random.below(16_384)
  }

  #name(): Uint8Array {
    const random = this.#random
    const text = random.oneIn(20)
      ? random.bytes(random.below(300))
      : Buffer.from(random.pick(random.oneIn(4) ? ODD_NAMES : GOOD_NAMES))
    return random.oneIn(30) ? text : Buffer.concat([text, Buffer.from([0])])
  }

  #openFlags(): number {
    const random = this.#random
    if (random.oneIn(5)) return this.#u32()
    return random.below(3) | random.pick([0, 0, O_TRUNC, O_APPEND, O_EXCL, O_DSYNC, O_CREAT | O_TRUNC])
  }

  #payload(opcode: number): Uint8Array {
    const random = this.#random
    const w = new Writer()
    switch (opcode) {
      case Opcode.LOOKUP:
      case Opcode.UNLINK:
      case Opcode.RMDIR:
      case Opcode.REMOVEXATTR:
        return this.#name()
      case Opcode.FORGET:
        return w.u64(random.oneIn(3) ? this.#u64() : 1).done()
      case Opcode.BATCH_FORGET: {
        const count = random.below(20)
        w.u32(random.oneIn(4) ? this.#u32() : count).u32(0)
        for (let i = 0; i < count; i++) w.u64(this.#nodeid()).u64(random.oneIn(3) ? this.#u64() : 1)
        return w.done()
      }
      case Opcode.SETATTR:
        return this.#setattr()
      case Opcode.SYMLINK:
        return Buffer.concat([this.#name(), this.#name()])
      case Opcode.MKNOD:
        return w
          .u32(random.pick([S_IFREG, S_IFDIR, 0, this.#u32()]))
          .u32(0)
          .u32(0)
          .u32(0)
          .bytes(this.#name())
          .done()
      case Opcode.MKDIR:
        return w.u32(0o755).u32(0).bytes(this.#name()).done()
      case Opcode.RENAME:
        return w.u64(this.#nodeid()).bytes(this.#name()).bytes(this.#name()).done()
      case Opcode.RENAME2:
        return w
          .u64(this.#nodeid())
          .u32(random.oneIn(3) ? this.#u32() : random.below(3))
          .u32(0)
          .bytes(this.#name())
          .bytes(this.#name())
          .done()
      case Opcode.LINK:
        return w.u64(this.#nodeid()).bytes(this.#name()).done()
      case Opcode.OPEN:
      case Opcode.OPENDIR:
        return w.u32(this.#openFlags()).u32(this.#u32()).done()
      case Opcode.CREATE:
        return w
          .u32(this.#openFlags() | (random.oneIn(2) ? O_RDWR : 0))
          .u32(0o644)
          .u32(0)
          .u32(0)
          .bytes(this.#name())
          .done()
      case Opcode.READ:
      case Opcode.READDIR:
      case Opcode.READDIRPLUS:
        return w
          .u64(this.#fh(opcode))
          .u64(random.oneIn(2) ? BigInt(random.below(100)) : this.#u64())
          .u32(this.#size())
          .u32(0)
          .u64(0)
          .u32(0)
          .u32(0)
          .done()
      case Opcode.WRITE: {
        const data = random.bytes(random.below(20_000))
        const size = random.oneIn(5) ? this.#u32() : data.length
        return w
          .u64(this.#fh())
          .u64(this.#offset())
          .u32(size)
          .u32(0)
          .u64(0)
          .u32(this.#openFlags())
          .u32(0)
          .bytes(data)
          .done()
      }
      case Opcode.FALLOCATE:
        return w
          .u64(this.#fh())
          .u64(this.#offset())
          .u64(this.#offset())
          .u32(random.pick([0, 1, 2, 3, 16, 17, this.#u32()]))
          .u32(0)
          .done()
      case Opcode.COPY_FILE_RANGE:
        return w
          .u64(this.#fh())
          .u64(this.#offset())
          .u64(this.#nodeid())
          .u64(this.#fh())
          .u64(this.#offset())
          .u64(this.#u64())
          .u64(0)
          .done()
      case Opcode.INIT:
        return w
          .u32(random.pick([7, 7, 7, 6, 8, 0, this.#u32()]))
          .u32(random.pick([31, 38, 26, 27, 0, this.#u32()]))
          .u32(this.#u32())
          .u32(this.#u32())
          .bytes(new Uint8Array(48))
          .done()
      default:
        // A handle in front and numbers behind it: RELEASE, FLUSH, FSYNC, LSEEK, GETATTR and whatever is unknown.
        return w.u64(this.#fh(opcode)).u64(this.#u64()).u64(this.#u64()).u64(this.#u64()).done()
    }
  }

  #setattr(): Uint8Array {
    const random = this.#random
    return new Writer()
      .u32(random.oneIn(3) ? this.#u32() : 1 << random.below(12))
      .u32(0)
      .u64(this.#fh())
      .u64(this.#offset())
      .u64(this.#u64())
      .u64(this.#u64())
      .u64(this.#u64())
      .u64(this.#u64())
      .u32(this.#u32())
      .u32(this.#u32())
      .u32(this.#u32())
      .u32(this.#u32())
      .u32(this.#u32())
      .u32(this.#u32())
      .u32(this.#u32())
      .u32(0)
      .done()
      .subarray(0, StructBytes.setattr_in)
  }

  #mutate(payload: Uint8Array): Uint8Array {
    const random = this.#random
    switch (random.below(10)) {
      case 0:
        return payload.subarray(0, random.below(payload.length + 1))
      case 1:
        return Buffer.concat([payload, random.bytes(random.below(random.oneIn(10) ? 100_000 : 100))])
      default:
        return payload
    }
  }

  /** Lay `length` bytes out over descriptors. */
  #pieces(length: number): number[] {
    const random = this.#random
    if (length === 0) return []
    if (random.oneIn(2)) return [length]
    const pieces: number[] = []
    for (let left = length; left > 0;) {
      const piece =
        pieces.length >= 60 ? left : Math.min(left, 1 + random.below(random.pick([16, 100, 5000])))
      pieces.push(piece)
      left -= piece
    }
    return pieces
  }
}
