/** What a request is about, in words: for those who watch requests and for the rules of interposers. Not for the hot path. */
import { readlinkSync } from 'node:fs'
import type { FileSystem } from '../fs/file-system.js'
import type { Mount } from '../fs/mount.js'
import { operationOf } from '../observability/operations.js'
import type { RequestRecord } from '../observability/request-record.js'
import type { HostInode } from '../passthrough/host-inode.js'
import { PASSTHROUGH_NODEID_BASE } from '../passthrough/host-inode-table.js'
import type { Passthrough } from '../passthrough/passthrough.js'
import { Opcode, OPCODE_LIMIT, SetattrValid } from './fuse-abi.js'
import type { Request } from './request.js'

/** Where nobody knows the path: the nodeid is unknown, or no name can be read. */
const UNKNOWN_PATH = '?'

/** Where a request's arguments are, bytes behind the fuse_in_header; what an operation lacks is absent. */
interface Layout {
  /** The first name, of an entry in the request's directory. */
  readonly name?: number
  /** The directory of a second name, which stands behind the first (rename). */
  readonly newDirectory?: number
  readonly fh?: number
  readonly offset?: number
  /** A 32-bit size. */
  readonly size?: number
  /** A 64-bit length. */
  readonly length?: number
}

const LAYOUTS: readonly (readonly [number, Layout])[] = [
  [Opcode.LOOKUP, { name: 0 }],
  [Opcode.UNLINK, { name: 0 }],
  [Opcode.RMDIR, { name: 0 }],
  [Opcode.SYMLINK, { name: 0 }],
  [Opcode.MKNOD, { name: 16 }],
  [Opcode.MKDIR, { name: 8 }],
  [Opcode.CREATE, { name: 16 }],
  [Opcode.RENAME, { name: 8, newDirectory: 0 }],
  [Opcode.RENAME2, { name: 16, newDirectory: 0 }],
  [Opcode.LINK, { name: 8 }],
  [Opcode.READ, { fh: 0, offset: 8, size: 16 }],
  [Opcode.WRITE, { fh: 0, offset: 8, size: 16 }],
  [Opcode.READDIR, { fh: 0, offset: 8, size: 16 }],
  [Opcode.READDIRPLUS, { fh: 0, offset: 8, size: 16 }],
  [Opcode.FALLOCATE, { fh: 0, offset: 8, length: 16 }],
  [Opcode.COPY_FILE_RANGE, { fh: 0, offset: 8, length: 40 }],
  [Opcode.COPY_FILE_RANGE_64, { fh: 0, offset: 8, length: 40 }],
  [Opcode.LSEEK, { fh: 0, offset: 8 }],
  [Opcode.FLUSH, { fh: 0 }],
  [Opcode.FSYNC, { fh: 0 }],
  [Opcode.RELEASE, { fh: 0 }],
  [Opcode.RELEASEDIR, { fh: 0 }],
  [Opcode.FSYNCDIR, { fh: 0 }],
]

const NO_ARGUMENTS: Layout = {}
const layouts = new Array<Layout>(OPCODE_LIMIT).fill(NO_ARGUMENTS)
for (const [opcode, layout] of LAYOUTS) layouts[opcode] = layout

/** The words of a reply at which an OPEN's handle stands, and a CREATE's, behind struct fuse_entry_out. */
const OPENED_FH_WORDS: ReadonlyMap<number, number> = new Map([
  [Opcode.OPEN, 0],
  [Opcode.OPENDIR, 0],
  [Opcode.CREATE, 32],
  [Opcode.TMPFILE, 32],
])
const TWO_TO_32 = 2 ** 32
/** struct fuse_write_in, behind which the data is. */
const WRITE_IN_BYTES = 40

/** Looks up what requests are about. */
export class RequestDetails {
  private lastId = 0

  constructor(
    private readonly fs: FileSystem,
    private readonly passthrough: Passthrough,
  ) {}

  /** The mount that a nodeid is of; that of the root for one that nobody knows. */
  mountOf(nodeid: number): Mount {
    if (nodeid >= PASSTHROUGH_NODEID_BASE) {
      const host = this.passthrough.inodes.find(nodeid)
      if (host !== undefined) return host.mount.place
    }
    return (this.fs.inodes.find(nodeid) ?? this.fs.inodes.root).mount
  }

  /** READ and WRITE: the bytes that are asked for, as far as the request has room for them; 0 for others. */
  ioBytes(request: Request): number {
    const { opcode } = request
    if (opcode !== Opcode.READ && opcode !== Opcode.WRITE) return 0
    const askedBytes = u32At(request, layouts[opcode]?.size ?? 0) ?? 0
    const roomBytes =
      opcode === Opcode.READ ? request.replyCapacityBytes : request.argumentBytes - WRITE_IN_BYTES
    return Math.min(askedBytes, Math.max(0, roomBytes))
  }

  /** The path below the mount's root, without a leading "/". */
  pathInMount(request: Request): string {
    const directory = this.pathOf(request.nodeid)
    const { name } = layoutOf(request)
    return name === undefined ? directory : join(directory, nameAt(request, name))
  }

  /** All of it, before the request is handled. */
  record(request: Request, mount: Mount): RequestRecord {
    const layout = layoutOf(request)
    return {
      id: ++this.lastId,
      mount: mount.options.name,
      operation: operationOf(request.opcode),
      ...{ uid: request.uid, gid: request.gid, pid: request.pid, nodeid: request.nodeid },
      fh: this.fhOf(request, layout),
      path: inTree(mount, this.pathInMount(request)),
      newPath: this.newPathOf(request, layout),
      sizeBytes:
        layout.size === undefined ? u64At(request, layout.length) : (u32At(request, layout.size) ?? null),
      offset: u64At(request, layout.offset),
      startMs: request.startMs,
      ...{ errno: 0, bytes: 0, durationUs: 0, openedFh: null },
    }
  }

  /** What is only known at the request's end. `nowMs`: monotonic. */
  complete(record: RequestRecord, request: Request, nowMs: number): void {
    record.errno = request.errno
    record.bytes = request.dataBytes
    record.durationUs = (nowMs - record.startMs) * 1000
    const word = OPENED_FH_WORDS.get(request.opcode)
    if (word === undefined || record.errno !== 0) return
    record.openedFh = request.replyWordAt(word) + request.replyWordAt(word + 1) * TWO_TO_32
  }

  private fhOf(request: Request, layout: Layout): number | null {
    if (request.opcode !== Opcode.SETATTR) return u64At(request, layout.fh)
    return ((u32At(request, 0) ?? 0) & SetattrValid.FH) === 0 ? null : u64At(request, 8)
  }

  private newPathOf(request: Request, { name, newDirectory }: Layout): string | null {
    if (name === undefined || newDirectory === undefined) return null
    const directory = u64At(request, newDirectory) ?? 0
    try {
      const newName = request.name(request.offsetBehindName(name))
      return inTree(this.mountOf(directory), join(this.pathOf(directory), newName))
    } catch {
      return UNKNOWN_PATH
    }
  }

  private pathOf(nodeid: number): string {
    if (this.passthrough.inodes.owns(nodeid)) {
      const host = this.passthrough.inodes.find(nodeid)
      return host === undefined ? UNKNOWN_PATH : pathOnHost(host)
    }
    // INIT, DESTROY and lists of forgets are of no inode.
    if (nodeid === 0) return ''
    const inode = this.fs.inodes.find(nodeid)
    return inode === undefined ? UNKNOWN_PATH : inode.path()
  }
}

/** Below its mount's root, as the host knows it now. */
function pathOnHost({ descriptor, mount }: HostInode): string {
  if (descriptor === null) return ''
  try {
    const path = readlinkSync(`/proc/self/fd/${descriptor.fd}`)
    const { root } = mount.options
    if (path === root) return ''
    const prefix = root.endsWith('/') ? root : `${root}/`
    return path.startsWith(prefix) ? path.slice(prefix.length) : UNKNOWN_PATH
  } catch {
    return UNKNOWN_PATH
  }
}

function layoutOf({ opcode }: Request): Layout {
  return layouts[opcode] ?? NO_ARGUMENTS
}

/** null where the request is too short for it, or has no such argument. */
function u64At(request: Request, offset: number | undefined): number | null {
  return offset === undefined || request.argumentBytes < offset + 8 ? null : request.u64(offset)
}

function u32At(request: Request, offset: number): number | undefined {
  return request.argumentBytes < offset + 4 ? undefined : request.u32(offset)
}

function nameAt(request: Request, offset: number): string {
  try {
    return request.name(offset)
  } catch {
    return UNKNOWN_PATH
  }
}

function join(directory: string, name: string): string {
  return directory === '' ? name : `${directory}/${name}`
}

function inTree({ options }: Mount, path: string): string {
  return `/${[...options.mountPoint, ...(path === '' ? [] : [path])].join('/')}`
}
