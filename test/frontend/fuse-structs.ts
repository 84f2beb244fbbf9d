/** Encoders and decoders of FUSE's structs, little-endian, as <linux/fuse.h> lays them out. */
import { StructBytes } from './abi.js'

/** A 64-bit value going out. */
export type U64 = number | bigint

/** Times are seconds and nanoseconds since the epoch. */
export interface Attr {
  readonly ino: number | bigint
  readonly size: number
  /** Units of 512 bytes. */
  readonly blocks: number
  readonly atime: number
  readonly atimensec: number
  readonly mtime: number
  readonly mtimensec: number
  readonly ctime: number
  readonly ctimensec: number
  /** File type and permissions. */
  readonly mode: number
  readonly nlink: number
  readonly uid: number
  readonly gid: number
  readonly rdev: number
  readonly blksize: number
  readonly flags: number
}

export interface Entry {
  /** 0 in a negative entry. */
  readonly nodeid: number
  readonly generation: number
  /** Seconds, fractions included. */
  readonly entryValid: number
  readonly attrValid: number
  readonly attr: Attr
}

export interface AttrReply {
  readonly attrValid: number
  readonly attr: Attr
}

export interface OpenReply {
  readonly fh: bigint
  /** FOPEN_*. */
  readonly openFlags: number
}

export interface CreateReply extends OpenReply {
  readonly entry: Entry
}

export interface InitReply {
  readonly major: number
  readonly minor: number
  readonly maxReadahead: number
  /** flags and flags2 in one. */
  readonly flags: bigint
  readonly maxBackground: number
  readonly congestionThreshold: number
  readonly maxWrite: number
  readonly timeGran: number
  readonly maxPages: number
  readonly mapAlignment: number
}

export interface Statfs {
  readonly blocks: number
  readonly bfree: number
  readonly bavail: number
  readonly files: number
  readonly ffree: number
  readonly bsize: number
  readonly namelen: number
  readonly frsize: number
}

export interface Dirent {
  readonly ino: number | bigint
  /** Pass it to the next READDIR to go on behind this entry. ext4 gives 64-bit hashes here. */
  readonly off: number | bigint
  /** DT_*. */
  readonly type: number
  readonly name: string
}

export interface DirentPlus extends Dirent {
  /** nodeid 0: not looked up ("." and ".."); else it counts as one LOOKUP. */
  readonly entry: Entry
}

/** Fields of SETATTR; what is left out stays. Times are seconds, fractions included. */
export interface SetattrFields {
  readonly mode?: number
  readonly uid?: number
  readonly gid?: number
  readonly size?: U64
  readonly atime?: number | 'now'
  readonly mtime?: number | 'now'
  readonly ctime?: number
  readonly fh?: U64
  /** FATTR_KILL_SUIDGID. */
  readonly killIds?: boolean
}

/** Reads fields one after another. Throws RangeError at the end of the bytes. */
export class Reader {
  readonly #view: DataView
  readonly #bytes: Uint8Array
  #offset = 0

  constructor(bytes: Uint8Array) {
    this.#bytes = bytes
    this.#view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength)
  }
  get offset(): number {
    return this.#offset
  }
  get left(): number {
    return this.#bytes.length - this.#offset
  }
  u16(): number {
    this.#offset += 2
    return this.#view.getUint16(this.#offset - 2, true)
  }
  u32(): number {
    this.#offset += 4
    return this.#view.getUint32(this.#offset - 4, true)
  }
  i32(): number {
    this.#offset += 4
    return this.#view.getInt32(this.#offset - 4, true)
  }
  big(): bigint {
    this.#offset += 8
    return this.#view.getBigUint64(this.#offset - 8, true)
  }
  /** A 64-bit field that must be a safe integer. */
  u64(): number {
    const value = this.big()
    if (value > BigInt(Number.MAX_SAFE_INTEGER)) {
      throw new RangeError(`64-bit field at byte ${this.#offset - 8} is ${value}`)
    }
    return Number(value)
  }
  /** A 64-bit field that may be anything. */
  u64any(): number | bigint {
    const value = this.big()
    return value > BigInt(Number.MAX_SAFE_INTEGER) ? value : Number(value)
  }
  /** A signed 64-bit field, as seconds are. */
  i64(): number {
    return Number(BigInt.asIntN(64, this.big()))
  }
  skip(count: number): void {
    this.#offset += count
  }
  text(length: number): string {
    if (length > this.left) throw new RangeError(`text of ${length} bytes in ${this.left}`)
    this.#offset += length
    return Buffer.from(this.#bytes.subarray(this.#offset - length, this.#offset)).toString('utf8')
  }
  rest(): Uint8Array {
    return this.#bytes.subarray(this.#offset)
  }
}

/** Appends fields one after another. */
export class Writer {
  readonly #parts: Uint8Array[] = []

  u16(value: number): this {
    const bytes = Buffer.alloc(2)
    bytes.writeUInt16LE(value & 0xffff)
    return this.#push(bytes)
  }
  u32(value: number): this {
    const bytes = Buffer.alloc(4)
    bytes.writeUInt32LE(value >>> 0)
    return this.#push(bytes)
  }
  u64(value: U64): this {
    const bytes = Buffer.alloc(8)
    bytes.writeBigUInt64LE(BigInt.asUintN(64, BigInt(value)))
    return this.#push(bytes)
  }
  bytes(value: Uint8Array): this {
    return this.#push(value)
  }
  /** A name with its NUL. Bytes are taken as they are, so a test may put anything into them. */
  name(value: string | Uint8Array): this {
    return this.#push(typeof value === 'string' ? Buffer.from(value) : value).#push(new Uint8Array(1))
  }
  done(): Uint8Array {
    return Buffer.concat(this.#parts)
  }
  #push(bytes: Uint8Array): this {
    this.#parts.push(bytes)
    return this
  }
}

export function readAttr(reader: Reader): Attr {
  const ino = reader.u64any()
  const size = reader.u64()
  const blocks = reader.u64()
  const atime = reader.i64()
  const mtime = reader.i64()
  const ctime = reader.i64()
  const atimensec = reader.u32()
  const mtimensec = reader.u32()
  const ctimensec = reader.u32()
  const mode = reader.u32()
  const nlink = reader.u32()
  const uid = reader.u32()
  const gid = reader.u32()
  const rdev = reader.u32()
  const blksize = reader.u32()
  const flags = reader.u32()
  const times = { atime, atimensec, mtime, mtimensec, ctime, ctimensec }
  return { ino, size, blocks, ...times, mode, nlink, uid, gid, rdev, blksize, flags }
}

export function readEntry(reader: Reader): Entry {
  const nodeid = reader.u64()
  const generation = reader.u64()
  const entrySeconds = reader.u64()
  const attrSeconds = reader.u64()
  const entryValid = entrySeconds + reader.u32() / 1e9
  const attrValid = attrSeconds + reader.u32() / 1e9
  return { nodeid, generation, entryValid, attrValid, attr: readAttr(reader) }
}

export function readAttrReply(reader: Reader): AttrReply {
  const seconds = reader.u64()
  const attrValid = seconds + reader.u32() / 1e9
  reader.skip(4)
  return { attrValid, attr: readAttr(reader) }
}

export function readOpenReply(reader: Reader): OpenReply {
  const fh = reader.big()
  const openFlags = reader.u32()
  reader.skip(4)
  return { fh, openFlags }
}

export function readInitReply(reader: Reader): InitReply {
  const major = reader.u32()
  const minor = reader.u32()
  const maxReadahead = reader.u32()
  const lowFlags = BigInt(reader.u32())
  const maxBackground = reader.u16()
  const congestionThreshold = reader.u16()
  const maxWrite = reader.u32()
  const timeGran = reader.u32()
  const maxPages = reader.u16()
  const mapAlignment = reader.u16()
  const flags = lowFlags | (BigInt(reader.u32()) << 32n)
  const limits = { maxReadahead, maxBackground, congestionThreshold, maxWrite, maxPages }
  return { major, minor, flags, ...limits, timeGran, mapAlignment }
}

export function readStatfs(reader: Reader): Statfs {
  const blocks = reader.u64()
  const bfree = reader.u64()
  const bavail = reader.u64()
  const files = reader.u64()
  const ffree = reader.u64()
  const bsize = reader.u32()
  const namelen = reader.u32()
  const frsize = reader.u32()
  return { blocks, bfree, bavail, files, ffree, bsize, namelen, frsize }
}

function readDirent(reader: Reader): Dirent {
  const ino = reader.u64any()
  const off = reader.u64any()
  const nameBytes = reader.u32()
  const type = reader.u32()
  const name = reader.text(nameBytes)
  // Records are padded to 8 bytes; the kernel demands the padding of the last one, too.
  const padding = (8 - (nameBytes % 8)) % 8
  if (padding > reader.left) throw new RangeError('the last dirent lacks its padding')
  reader.skip(padding)
  return { ino, off, type, name }
}

/** Parse a READDIR reply. Throws RangeError where the kernel would give EIO. */
export function readDirents(bytes: Uint8Array): Dirent[] {
  const reader = new Reader(bytes)
  const entries: Dirent[] = []
  while (reader.left > 0) {
    if (reader.left < StructBytes.dirent)
      throw new RangeError(`${reader.left} bytes left over after the dirents`)
    entries.push(readDirent(reader))
  }
  return entries
}

/** Parse a READDIRPLUS reply. */
export function readDirentsPlus(bytes: Uint8Array): DirentPlus[] {
  const reader = new Reader(bytes)
  const entries: DirentPlus[] = []
  while (reader.left > 0) {
    if (reader.left < StructBytes.direntplus) {
      throw new RangeError(`${reader.left} bytes left over after the dirents`)
    }
    const entry = readEntry(reader)
    entries.push({ entry, ...readDirent(reader) })
  }
  return entries
}
