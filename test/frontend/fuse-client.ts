/**
 * Every FUSE operation as a method: one request, one promise, parsed replies; an errno becomes a `FuseError`.
 *
 *     const client = await FuseClient.mount({ socketPath })
 *     const { nodeid } = await client.lookup(1, 'name')
 *     assert.equal(await codeOf(client.rmdir(1, 'full')), 'ENOTEMPTY')
 *     client.close()
 */
import {
  GETATTR_FH,
  InitFlags,
  KERNEL_INIT_FLAGS,
  KERNEL_MAJOR,
  KERNEL_MINOR,
  O_RDONLY,
  Opcode,
  SetattrValid,
  StructBytes,
} from './abi.js'
import { DeviceError, FrontEnd, type FrontEndOptions } from './front-end.js'
import { FuseChannel, FuseError, type RequestOptions } from './fuse-channel.js'
import {
  Reader,
  Writer,
  readAttrReply,
  readDirents,
  readDirentsPlus,
  readEntry,
  readInitReply,
  readOpenReply,
  readStatfs,
  type Attr,
  type AttrReply,
  type CreateReply,
  type Dirent,
  type DirentPlus,
  type Entry,
  type InitReply,
  type OpenReply,
  type SetattrFields,
  type Statfs,
  type U64,
} from './fuse-structs.js'

export { FuseError, codeOf, type FuseResult, type Layout, type RequestOptions } from './fuse-channel.js'
export type * from './fuse-structs.js'

/** A name as text, or as bytes where a test wants what no text can say. */
export type Name = string | Uint8Array

export interface InitOptions {
  readonly major?: number
  readonly minor?: number
  readonly maxReadahead?: number
  readonly flags?: bigint
  /** Send the 16-byte fuse_init_in of kernels before 5.17. */
  readonly short?: boolean
}

const NAMES = new Map<number, string>(Object.entries(Opcode).map(([name, opcode]) => [opcode, name]))

const NOTHING = new Uint8Array()

function splitSeconds(time: number): { seconds: number; nanoseconds: number } {
  const seconds = Math.floor(time)
  return { seconds, nanoseconds: Math.round((time - seconds) * 1e9) }
}

export class FuseClient extends FuseChannel {
  #session: InitReply | undefined

  /** Connect, negotiate, FUSE_INIT. */
  static async mount(options: FrontEndOptions, init: InitOptions = {}): Promise<FuseClient> {
    const client = new FuseClient(await FrontEnd.connect(options))
    try {
      await client.init(init)
    } catch (error) {
      client.close()
      throw error
    }
    return client
  }

  /** The last INIT's answer. Throws before the first. */
  get session(): InitReply {
    if (!this.#session) throw new Error('no FUSE_INIT yet')
    return this.#session
  }

  /** True where INIT's answer has this flag. */
  has(flag: keyof typeof InitFlags): boolean {
    return (this.session.flags & InitFlags[flag]) !== 0n
  }

  /** Drop the connection as a killed hypervisor does. */
  close(): void {
    this.front.close()
  }

  // ---- session ----

  async init(init: InitOptions = {}, options?: RequestOptions): Promise<InitReply> {
    const flags = init.flags ?? KERNEL_INIT_FLAGS
    const args = new Writer()
      .u32(init.major ?? KERNEL_MAJOR)
      .u32(init.minor ?? KERNEL_MINOR)
      .u32(init.maxReadahead ?? 128 * 1024)
      .u32(Number(flags & 0xffffffffn))
    if (!init.short) args.u32(Number(flags >> 32n)).bytes(new Uint8Array(44))
    const reader = await this.#ask(Opcode.INIT, 0, args.done(), StructBytes.init_out, options)
    this.#session = readInitReply(reader)
    return this.#session
  }
  async destroy(options?: RequestOptions): Promise<void> {
    await this.#ask(Opcode.DESTROY, 0, NOTHING, 0, options)
  }
  /** No reply. Goes to the hiprio queue. */
  async forget(nodeid: U64, nlookup: U64 = 1, options?: RequestOptions): Promise<void> {
    await this.request(Opcode.FORGET, nodeid, new Writer().u64(nlookup).done(), null, {
      queue: 0,
      ...options,
    })
  }
  /** No reply. Goes to the hiprio queue. */
  async batchForget(
    items: readonly (readonly [nodeid: U64, nlookup: U64])[],
    options?: RequestOptions,
  ): Promise<void> {
    const args = new Writer().u32(items.length).u32(0)
    for (const [nodeid, nlookup] of items) args.u64(nodeid).u64(nlookup)
    await this.request(Opcode.BATCH_FORGET, 0, args.done(), null, { queue: 0, ...options })
  }
  /** No reply. */
  async interrupt(unique: U64, options?: RequestOptions): Promise<void> {
    await this.request(Opcode.INTERRUPT, 0, new Writer().u64(unique).done(), null, { queue: 0, ...options })
  }

  // ---- names ----

  /** ENOENT for a negative entry as well. Counts as one lookup of the nodeid: FORGET it some time. */
  async lookup(parent: U64, name: Name, options?: RequestOptions): Promise<Entry> {
    const entry = await this.lookupEntry(parent, name, options)
    if (entry.nodeid === 0) throw FuseError.of('ENOENT', `negative entry for ${String(name)}`)
    return entry
  }
  /** As `lookup`, but a negative entry is returned (nodeid 0). */
  async lookupEntry(parent: U64, name: Name, options?: RequestOptions): Promise<Entry> {
    const args = new Writer().name(name).done()
    return readEntry(await this.#ask(Opcode.LOOKUP, parent, args, StructBytes.entry_out, options))
  }
  /** `mode` with the file type; S_IFREG for a plain file. */
  async mknod(
    parent: U64,
    name: Name,
    mode: number,
    rdev = 0,
    umask = 0,
    options?: RequestOptions,
  ): Promise<Entry> {
    const args = new Writer().u32(mode).u32(rdev).u32(umask).u32(0).name(name).done()
    return readEntry(await this.#ask(Opcode.MKNOD, parent, args, StructBytes.entry_out, options))
  }
  async mkdir(parent: U64, name: Name, mode = 0o755, umask = 0, options?: RequestOptions): Promise<Entry> {
    const args = new Writer().u32(mode).u32(umask).name(name).done()
    return readEntry(await this.#ask(Opcode.MKDIR, parent, args, StructBytes.entry_out, options))
  }
  async unlink(parent: U64, name: Name, options?: RequestOptions): Promise<void> {
    await this.#ask(Opcode.UNLINK, parent, new Writer().name(name).done(), 0, options)
  }
  async rmdir(parent: U64, name: Name, options?: RequestOptions): Promise<void> {
    await this.#ask(Opcode.RMDIR, parent, new Writer().name(name).done(), 0, options)
  }
  async rename(
    parent: U64,
    name: Name,
    newParent: U64,
    newName: Name,
    options?: RequestOptions,
  ): Promise<void> {
    const args = new Writer().u64(newParent).name(name).name(newName).done()
    await this.#ask(Opcode.RENAME, parent, args, 0, options)
  }
  /** `flags`: RENAME_*. */
  async rename2(
    parent: U64,
    name: Name,
    newParent: U64,
    newName: Name,
    flags: number,
    options?: RequestOptions,
  ): Promise<void> {
    const args = new Writer().u64(newParent).u32(flags).u32(0).name(name).name(newName).done()
    await this.#ask(Opcode.RENAME2, parent, args, 0, options)
  }
  async symlink(parent: U64, name: Name, target: Name, options?: RequestOptions): Promise<Entry> {
    const args = new Writer().name(name).name(target).done()
    return readEntry(await this.#ask(Opcode.SYMLINK, parent, args, StructBytes.entry_out, options))
  }
  async readlink(nodeid: U64, options?: RequestOptions): Promise<string> {
    const { data } = await this.#checked(Opcode.READLINK, nodeid, NOTHING, 0, {
      ...options,
      replyDataBytes: 4096,
    })
    return Buffer.from(data).toString('utf8')
  }
  async link(nodeid: U64, newParent: U64, newName: Name, options?: RequestOptions): Promise<Entry> {
    const args = new Writer().u64(nodeid).name(newName).done()
    return readEntry(await this.#ask(Opcode.LINK, newParent, args, StructBytes.entry_out, options))
  }

  // ---- attributes ----

  async getattr(nodeid: U64, fh?: U64, options?: RequestOptions): Promise<AttrReply> {
    const args = new Writer()
      .u32(fh === undefined ? 0 : GETATTR_FH)
      .u32(0)
      .u64(fh ?? 0)
      .done()
    return readAttrReply(await this.#ask(Opcode.GETATTR, nodeid, args, StructBytes.attr_out, options))
  }
  async setattr(nodeid: U64, fields: SetattrFields, options?: RequestOptions): Promise<Attr> {
    const reader = await this.#ask(
      Opcode.SETATTR,
      nodeid,
      encodeSetattr(fields),
      StructBytes.attr_out,
      options,
    )
    return readAttrReply(reader).attr
  }
  async access(nodeid: U64, mask: number, options?: RequestOptions): Promise<void> {
    await this.#ask(Opcode.ACCESS, nodeid, new Writer().u32(mask).u32(0).done(), 0, options)
  }
  async statfs(nodeid: U64 = 1, options?: RequestOptions): Promise<Statfs> {
    return readStatfs(await this.#ask(Opcode.STATFS, nodeid, NOTHING, StructBytes.statfs_out, options))
  }
  async syncfs(nodeid: U64 = 1, options?: RequestOptions): Promise<void> {
    await this.#ask(Opcode.SYNCFS, nodeid, new Writer().u64(0).done(), 0, options)
  }

  // ---- files ----

  async open(
    nodeid: U64,
    flags: number = O_RDONLY,
    options?: RequestOptions & { readonly openFlags?: number },
  ): Promise<OpenReply> {
    const args = new Writer()
      .u32(flags)
      .u32(options?.openFlags ?? 0)
      .done()
    const ask = async (): Promise<OpenReply> =>
      readOpenReply(await this.#ask(Opcode.OPEN, nodeid, args, StructBytes.open_out, options))
    try {
      return await ask()
    } catch (error) {
      // As Linux does, which looks the path up anew before, if it has one: open(2) tells ESTALE of the second try only.
      if (error instanceof FuseError && error.code === 'ESTALE') return ask()
      throw error
    }
  }
  async create(
    parent: U64,
    name: Name,
    flags: number,
    mode = 0o644,
    umask = 0,
    options?: RequestOptions,
  ): Promise<CreateReply> {
    const args = new Writer().u32(flags).u32(mode).u32(umask).u32(0).name(name).done()
    const bytes = StructBytes.entry_out + StructBytes.open_out
    const reader = await this.#ask(Opcode.CREATE, parent, args, bytes, options)
    const entry = readEntry(reader)
    return { entry, ...readOpenReply(reader) }
  }
  /** O_TMPFILE. */
  async tmpfile(parent: U64, flags: number, mode = 0o644, options?: RequestOptions): Promise<CreateReply> {
    const args = new Writer().u32(flags).u32(mode).u32(0).u32(0).name('/').done()
    const bytes = StructBytes.entry_out + StructBytes.open_out
    const reader = await this.#ask(Opcode.TMPFILE, parent, args, bytes, options)
    const entry = readEntry(reader)
    return { entry, ...readOpenReply(reader) }
  }
  /** One READ of up to `size` bytes (at most 1 MiB, the kernel's limit); shorter at the end of the file. */
  async read(nodeid: U64, fh: U64, offset: U64, size: number, options?: RequestOptions): Promise<Uint8Array> {
    const args = encodeReadArgs(fh, offset, size)
    const { data } = await this.#checked(Opcode.READ, nodeid, args, 0, { ...options, replyDataBytes: size })
    return data
  }
  /** One WRITE (at most session.maxWrite bytes). Returns the bytes that the daemon took. */
  async write(
    nodeid: U64,
    fh: U64,
    offset: U64,
    data: Uint8Array,
    options?: RequestOptions & { readonly writeFlags?: number; readonly openFlags?: number },
  ): Promise<number> {
    const args = new Writer()
      .u64(fh)
      .u64(offset)
      .u32(data.length)
      .u32(options?.writeFlags ?? 0)
      .u64(0)
      .u32(options?.openFlags ?? 0)
      .u32(0)
      .done()
    const reader = await this.#ask(Opcode.WRITE, nodeid, args, StructBytes.write_out, { ...options, data })
    const written = reader.u32()
    if (written > data.length) throw new DeviceError(`WRITE of ${data.length} bytes wrote ${written}`)
    return written
  }
  async flush(nodeid: U64, fh: U64, options?: RequestOptions): Promise<void> {
    await this.#ask(Opcode.FLUSH, nodeid, new Writer().u64(fh).u64(0).u64(0).done(), 0, options)
  }
  async fsync(nodeid: U64, fh: U64, datasync = false, options?: RequestOptions): Promise<void> {
    await this.#ask(Opcode.FSYNC, nodeid, encodeFsync(fh, datasync), 0, options)
  }
  async release(nodeid: U64, fh: U64, flags = 0, options?: RequestOptions): Promise<void> {
    const args = new Writer().u64(fh).u32(flags).u32(0).u64(0).done()
    await this.#ask(Opcode.RELEASE, nodeid, args, 0, options)
  }
  /** Returns the offset found. `whence`: SEEK_*. */
  async lseek(nodeid: U64, fh: U64, offset: U64, whence: number, options?: RequestOptions): Promise<number> {
    const args = new Writer().u64(fh).u64(offset).u32(whence).u32(0).done()
    return (await this.#ask(Opcode.LSEEK, nodeid, args, StructBytes.lseek_out, options)).u64()
  }
  async fallocate(
    nodeid: U64,
    fh: U64,
    offset: U64,
    length: U64,
    mode = 0,
    options?: RequestOptions,
  ): Promise<void> {
    const args = new Writer().u64(fh).u64(offset).u64(length).u32(mode).u32(0).done()
    await this.#ask(Opcode.FALLOCATE, nodeid, args, 0, options)
  }
  /** Returns the bytes copied. */
  async copyFileRange(
    from: { readonly nodeid: U64; readonly fh: U64; readonly offset: U64 },
    to: { readonly nodeid: U64; readonly fh: U64; readonly offset: U64 },
    length: U64,
    flags = 0,
    options?: RequestOptions,
  ): Promise<number> {
    const args = new Writer().u64(from.fh).u64(from.offset).u64(to.nodeid).u64(to.fh).u64(to.offset)
    args.u64(length).u64(flags)
    const { write_out: bytes } = StructBytes
    return (await this.#ask(Opcode.COPY_FILE_RANGE, from.nodeid, args.done(), bytes, options)).u32()
  }

  // ---- directories ----

  async opendir(nodeid: U64, options?: RequestOptions): Promise<OpenReply> {
    const args = new Writer().u32(0).u32(0).done()
    return readOpenReply(await this.#ask(Opcode.OPENDIR, nodeid, args, StructBytes.open_out, options))
  }
  /** One READDIR into a buffer of `size` bytes; no entries = the end. */
  async readdir(
    nodeid: U64,
    fh: U64,
    offset: U64 = 0,
    size = 4096,
    options?: RequestOptions,
  ): Promise<Dirent[]> {
    const args = encodeReadArgs(fh, offset, size)
    const { data } = await this.#checked(Opcode.READDIR, nodeid, args, 0, {
      ...options,
      replyDataBytes: size,
    })
    return readDirents(data)
  }
  /** One READDIRPLUS. Every entry with a nodeid counts as one lookup. */
  async readdirplus(
    nodeid: U64,
    fh: U64,
    offset: U64 = 0,
    size = 4096,
    options?: RequestOptions,
  ): Promise<DirentPlus[]> {
    const args = encodeReadArgs(fh, offset, size)
    const { data } = await this.#checked(Opcode.READDIRPLUS, nodeid, args, 0, {
      ...options,
      replyDataBytes: size,
    })
    return readDirentsPlus(data)
  }
  async releasedir(nodeid: U64, fh: U64, options?: RequestOptions): Promise<void> {
    const args = new Writer().u64(fh).u32(0).u32(0).u64(0).done()
    await this.#ask(Opcode.RELEASEDIR, nodeid, args, 0, options)
  }
  async fsyncdir(nodeid: U64, fh: U64, datasync = false, options?: RequestOptions): Promise<void> {
    await this.#ask(Opcode.FSYNCDIR, nodeid, encodeFsync(fh, datasync), 0, options)
  }

  // ---- extended attributes ----

  async getxattr(nodeid: U64, name: Name, size = 4096, options?: RequestOptions): Promise<Uint8Array> {
    const args = new Writer().u32(size).u32(0).name(name).done()
    return (await this.#checked(Opcode.GETXATTR, nodeid, args, size, options)).data
  }
  /** The value's length, by GETXATTR with size 0. */
  async getxattrSize(nodeid: U64, name: Name, options?: RequestOptions): Promise<number> {
    const args = new Writer().u32(0).u32(0).name(name).done()
    return (await this.#ask(Opcode.GETXATTR, nodeid, args, StructBytes.getxattr_out, options)).u32()
  }
  /** `flags`: XATTR_CREATE 1, XATTR_REPLACE 2. */
  async setxattr(
    nodeid: U64,
    name: Name,
    value: Uint8Array,
    flags = 0,
    options?: RequestOptions & { readonly setxattrFlags?: number },
  ): Promise<void> {
    const args = new Writer().u32(value.length).u32(flags)
    if (this.has('SETXATTR_EXT')) args.u32(options?.setxattrFlags ?? 0).u32(0)
    await this.#ask(Opcode.SETXATTR, nodeid, args.name(name).bytes(value).done(), 0, options)
  }
  async listxattr(nodeid: U64, size = 4096, options?: RequestOptions): Promise<string[]> {
    const args = new Writer().u32(size).u32(0).done()
    const { data } = await this.#checked(Opcode.LISTXATTR, nodeid, args, size, options)
    return Buffer.from(data).toString('utf8').split('\0').slice(0, -1)
  }
  async removexattr(nodeid: U64, name: Name, options?: RequestOptions): Promise<void> {
    await this.#ask(Opcode.REMOVEXATTR, nodeid, new Writer().name(name).done(), 0, options)
  }

  // ---- inside ----

  async #checked(
    opcode: number,
    nodeid: U64,
    args: Uint8Array,
    replyBytes: number,
    options: RequestOptions | undefined,
  ): Promise<{ data: Uint8Array }> {
    const { error, data } = await this.request(opcode, nodeid, args, replyBytes, options)
    if (error !== 0) throw new FuseError(-error, `${NAMES.get(opcode) ?? opcode} of nodeid ${nodeid}`)
    return { data }
  }

  /** A request whose reply has exactly `replyBytes` bytes. */
  async #ask(
    opcode: number,
    nodeid: U64,
    args: Uint8Array,
    replyBytes: number,
    options: RequestOptions | undefined,
  ): Promise<Reader> {
    const { data } = await this.#checked(opcode, nodeid, args, replyBytes, options)
    if (data.length !== replyBytes) {
      throw new DeviceError(
        `${NAMES.get(opcode) ?? opcode} answered with ${data.length} bytes, not ${replyBytes}`,
      )
    }
    return new Reader(data)
  }
}

function encodeReadArgs(fh: U64, offset: U64, size: number): Uint8Array {
  return new Writer().u64(fh).u64(offset).u32(size).u32(0).u64(0).u32(0).u32(0).done()
}

function encodeFsync(fh: U64, datasync: boolean): Uint8Array {
  return new Writer()
    .u64(fh)
    .u32(datasync ? 1 : 0)
    .u32(0)
    .done()
}

function encodeSetattr(fields: SetattrFields): Uint8Array {
  let valid = 0
  const time = (
    value: number | 'now' | undefined,
    set: number,
    now: number,
  ): ReturnType<typeof splitSeconds> => {
    if (value === undefined) return { seconds: 0, nanoseconds: 0 }
    valid |= set
    if (value !== 'now') return splitSeconds(value)
    valid |= now
    return { seconds: 0, nanoseconds: 0 }
  }
  const atime = time(fields.atime, SetattrValid.ATIME, SetattrValid.ATIME_NOW)
  const mtime = time(fields.mtime, SetattrValid.MTIME, SetattrValid.MTIME_NOW)
  const ctime = time(fields.ctime, SetattrValid.CTIME, 0)
  if (fields.mode !== undefined) valid |= SetattrValid.MODE
  if (fields.uid !== undefined) valid |= SetattrValid.UID
  if (fields.gid !== undefined) valid |= SetattrValid.GID
  if (fields.size !== undefined) valid |= SetattrValid.SIZE
  if (fields.fh !== undefined) valid |= SetattrValid.FH
  if (fields.killIds === true) valid |= SetattrValid.KILL_SUIDGID
  return new Writer()
    .u32(valid)
    .u32(0)
    .u64(fields.fh ?? 0)
    .u64(fields.size ?? 0)
    .u64(0)
    .u64(atime.seconds)
    .u64(mtime.seconds)
    .u64(ctime.seconds)
    .u32(atime.nanoseconds)
    .u32(mtime.nanoseconds)
    .u32(ctime.nanoseconds)
    .u32(fields.mode ?? 0)
    .u32(0)
    .u32(fields.uid ?? 0)
    .u32(fields.gid ?? 0)
    .u32(0)
    .done()
}
