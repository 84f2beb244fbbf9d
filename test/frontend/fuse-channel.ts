/** One FUSE request after another, well-formed or not, over a vring. */
import { constants } from 'node:os'
import { PAGE_BYTES, StructBytes } from './abi.js'
import { DeviceError, type Chain, type ChainResult, type FrontEnd } from './front-end.js'
import { Reader, Writer, type U64 } from './fuse-structs.js'

// EOPNOTSUPP and ENOTSUP are one number, as are EAGAIN and EWOULDBLOCK: the first of each pair names it.
const ERRNO_NAMES = new Map<number, string>()
for (const [name, number] of Object.entries(constants.errno)) {
  if (!ERRNO_NAMES.has(number) || name === 'EOPNOTSUPP') ERRNO_NAMES.set(number, name)
}

/** The daemon's answer was an errno. */
export class FuseError extends Error {
  override readonly name = 'FuseError'
  /** Positive errno. */
  readonly errno: number
  /** Its name, as 'ENOENT'. */
  readonly code: string

  constructor(errno: number, what: string) {
    const code = ERRNO_NAMES.get(errno) ?? `E${errno}`
    super(`${code}: ${what}`)
    this.errno = errno
    this.code = code
  }
  /** An error that the guest's kernel gives of itself, from the errno's name. */
  static of(code: string, what: string): FuseError {
    const errno = (constants.errno as Readonly<Record<string, number>>)[code]
    if (errno === undefined) throw new RangeError(`no such errno: ${code}`)
    return new FuseError(errno, what)
  }
}

/** 'OK', or the code of the FuseError the promise rejects with; other errors pass through. */
export async function codeOf(promise: Promise<unknown>): Promise<string> {
  try {
    await promise
    return 'OK'
  } catch (error) {
    if (error instanceof FuseError) return error.code
    throw error
  }
}

/**
 * How a request is laid out over descriptors:
 * - `kernel`: header, arguments, then data in pages of 4 KiB; the same for the reply. What Linux's virtiofs does.
 * - `single`: one readable and one writable descriptor.
 * - `shredded`: odd little pieces that cut through every field. The virtio specification (2.7.4) allows it: a device
 *   must not conclude anything from the framing.
 */
export type Layout = 'kernel' | 'single' | 'shredded'

export interface RequestOptions {
  /** Default: the channel's. */
  readonly queue?: number
  readonly uid?: number
  readonly gid?: number
  readonly pid?: number
  readonly layout?: Layout
  /** struct fuse_ext_header and what follows it, behind the arguments, in whole words of 8 bytes. */
  readonly extension?: Uint8Array
  /** Bulk data behind the arguments (WRITE). */
  readonly data?: Uint8Array
  /** Room for bulk data behind the reply's arguments (READ, READDIR). */
  readonly replyDataBytes?: number
  /** Lie in fuse_in_header.len. */
  readonly headerLen?: number
  /** Default: the next one. */
  readonly unique?: U64
}

export interface FuseResult {
  /** As on the wire: 0 or -errno. */
  readonly error: number
  /** What follows the fuse_out_header. */
  readonly data: Uint8Array
}

/** fuse_in_header.total_extlen counts in these. */
const EXTENSION_UNIT_BYTES = 8
const SHREDS = [1, 3, 7, 16, 2, 61, 5, 33]
/** More pieces than this and the last one takes all the rest, so that a chain stays below the queue's size. */
const MAX_SHREDS = 100

function shred(length: number): number[] {
  const sizes: number[] = []
  for (let left = length; left > 0;) {
    const piece = SHREDS[sizes.length % SHREDS.length] ?? 1
    const size = sizes.length >= MAX_SHREDS ? left : Math.min(piece, left)
    sizes.push(size)
    left -= size
  }
  return sizes
}

function pages(length: number): number[] {
  const sizes: number[] = []
  for (let left = length; left > 0; left -= PAGE_BYTES) sizes.push(Math.min(PAGE_BYTES, left))
  return sizes
}

function segmentSizes(layout: Layout, header: number, args: number, data: number): number[] {
  if (layout === 'single') return [header + args + data]
  if (layout === 'shredded') return shred(header + args + data)
  return [header, ...(args > 0 ? [args] : []), ...pages(data)]
}

export class FuseChannel {
  readonly front: FrontEnd
  /** Defaults for every request; tests may change them between requests. */
  defaults = { queue: 1, uid: 0, gid: 0, pid: 1, layout: 'kernel' as Layout }
  #unique = 2n

  constructor(front: FrontEnd) {
    this.front = front
  }

  /**
   * Send one request. `payload` is what follows the fuse_in_header, `replyBytes` the room for what follows the
   * fuse_out_header; `null` = the request has no reply (FORGET). Resolves to the reply whatever its error is; rejects with
   * DeviceError when the reply breaks the rules: wrong unique, a length that disagrees with the used element, data
   * beside an error, an answer to a request without reply.
   */
  async request(
    opcode: number,
    nodeid: U64,
    payload: Uint8Array,
    replyBytes: number | null,
    options: RequestOptions = {},
  ): Promise<FuseResult> {
    const unique = BigInt(options.unique ?? this.nextUnique())
    const chain = this.#chain(opcode, nodeid, payload, replyBytes, unique, options)
    const result = await this.front.submit(options.queue ?? this.defaults.queue, chain)
    if (replyBytes === null) {
      if (result.usedBytes !== 0)
        throw new DeviceError(`a request without reply was answered (opcode ${opcode})`)
      return { error: 0, data: new Uint8Array() }
    }
    return parseReply(result, unique, opcode)
  }

  /** Kernels number requests in steps of two: the lowest bit marks INTERRUPT. */
  nextUnique(): bigint {
    const unique = this.#unique
    this.#unique += 2n
    return unique
  }

  #chain(
    opcode: number,
    nodeid: U64,
    args: Uint8Array,
    replyBytes: number | null,
    unique: bigint,
    options: RequestOptions,
  ): Chain {
    const extension = options.extension ?? new Uint8Array()
    const payload = Buffer.concat([args, extension])
    const data = options.data ?? new Uint8Array()
    const layout = options.layout ?? this.defaults.layout
    const header = new Writer()
      .u32(options.headerLen ?? StructBytes.in_header + payload.length + data.length)
      .u32(opcode)
      .u64(unique)
      .u64(nodeid)
      .u32(options.uid ?? this.defaults.uid)
      .u32(options.gid ?? this.defaults.gid)
      .u32(options.pid ?? this.defaults.pid)
      .u16(extension.length / EXTENSION_UNIT_BYTES)
      .u16(0)
      .done()
    return {
      readable: Buffer.concat([header, payload, data]),
      readableSizes: segmentSizes(layout, header.length, payload.length, data.length),
      writableSizes:
        replyBytes === null
          ? []
          : segmentSizes(layout, StructBytes.out_header, replyBytes, options.replyDataBytes ?? 0),
    }
  }
}

function parseReply(result: ChainResult, unique: bigint, opcode: number): FuseResult {
  const where = `in the reply to opcode ${opcode}`
  if (result.usedBytes < StructBytes.out_header) throw new DeviceError(`${result.usedBytes} bytes ${where}`)
  const reader = new Reader(result.data)
  const length = reader.u32()
  const error = reader.i32()
  const answered = reader.big()
  if (length !== result.usedBytes) {
    throw new DeviceError(`len ${length}, but used element ${result.usedBytes} ${where}`)
  }
  if (answered !== unique) throw new DeviceError(`unique ${answered} and not ${unique} ${where}`)
  // The kernel takes anything outside (-512, 0] for a broken server.
  if (error > 0 || error <= -512) throw new DeviceError(`error ${error} ${where}`)
  if (error !== 0 && reader.left > 0)
    throw new DeviceError(`error ${error} with ${reader.left} bytes ${where}`)
  return { error, data: reader.rest() }
}
