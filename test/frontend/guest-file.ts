/** An open file as a guest's kernel uses it without a page cache. */
import {
  MAX_PAGES,
  O_ACCMODE,
  O_APPEND,
  O_DSYNC,
  O_RDONLY,
  O_WRONLY,
  PAGE_BYTES,
  ROOT_NODEID,
} from './abi.js'
import { FuseError, type FuseClient } from './fuse-client.js'
import type { Attr, U64 } from './fuse-structs.js'

export class GuestFile {
  readonly client: FuseClient
  readonly nodeid: number
  readonly fh: bigint
  readonly flags: number
  readonly #forget: boolean
  #open = true

  /** Owns one lookup of the nodeid, forgotten by `close` where `forget` says so. */
  constructor(client: FuseClient, nodeid: number, fh: bigint, flags: number, forget: boolean) {
    this.client = client
    this.nodeid = nodeid
    this.fh = fh
    this.flags = flags
    this.#forget = forget
  }

  /** pread: up to `size` bytes in READs of 1 MiB; shorter at the end of the file. EBADF on a write-only file. */
  async read(offset: number, size: number): Promise<Buffer> {
    this.#check(O_WRONLY)
    const limit = (this.client.session.maxPages || MAX_PAGES) * PAGE_BYTES
    const parts: Uint8Array[] = []
    for (let done = 0; done < size;) {
      const want = Math.min(limit, size - done)
      const part = await this.client.read(this.nodeid, this.fh, offset + done, want)
      parts.push(part)
      done += part.length
      if (part.length < want) break
    }
    return Buffer.concat(parts)
  }
  async readAll(): Promise<Buffer> {
    const { size } = await this.stat()
    return this.read(0, size)
  }
  /**
   * pwrite, in WRITEs of at most `maxWrite` bytes. With O_APPEND the offset is the size, as the kernel knows it; with
   * O_DSYNC or O_SYNC an FSYNC follows. Returns the bytes written. EBADF on a read-only file.
   */
  async write(offset: number, data: string | Uint8Array): Promise<number> {
    this.#check(O_RDONLY)
    const bytes = Buffer.from(data)
    const start = (this.flags & O_APPEND) !== 0 ? (await this.stat()).size : offset
    const limit = Math.min(this.client.session.maxWrite, MAX_PAGES * PAGE_BYTES)
    let done = 0
    while (done < bytes.length) {
      const part = bytes.subarray(done, done + limit)
      const options = { openFlags: this.flags }
      const count = await this.client.write(this.nodeid, this.fh, start + done, part, options)
      done += count
      if (count < part.length) break
    }
    if ((this.flags & O_DSYNC) !== 0) await this.fsync()
    return done
  }
  /** fstat. */
  async stat(): Promise<Attr> {
    return (await this.client.getattr(this.nodeid, this.fh)).attr
  }
  /** ftruncate. EINVAL on a read-only file. */
  async truncate(size: U64): Promise<void> {
    if ((this.flags & O_ACCMODE) === O_RDONLY) throw FuseError.of('EINVAL', 'ftruncate of a read-only file')
    await this.client.setattr(this.nodeid, { size, fh: this.fh })
  }
  async fsync(datasync = false): Promise<void> {
    await this.client.fsync(this.nodeid, this.fh, datasync)
  }
  /** What the close of one of several descriptors sends. */
  async flush(): Promise<void> {
    await this.client.flush(this.nodeid, this.fh)
  }
  /** FLUSH, RELEASE, FORGET. The error of FLUSH rejects, after the file is released. */
  async close(): Promise<void> {
    if (!this.#open) return
    this.#open = false
    try {
      await this.flush()
    } finally {
      await this.client.release(this.nodeid, this.fh, this.flags)
      if (this.#forget && this.nodeid !== ROOT_NODEID) await this.client.forget(this.nodeid)
    }
  }

  #check(refusedMode: number): void {
    if (!this.#open || (this.flags & O_ACCMODE) === refusedMode) {
      throw FuseError.of('EBADF', `fh ${this.fh} opened with flags 0o${this.flags.toString(8)}`)
    }
  }
}
