/** Small writes to a file system that can't tell whether they would wait. */
import assert from 'node:assert/strict'
import { constants } from 'node:os'
import { describe, it } from 'node:test'
import { BlindWrites } from '../../../src/passthrough/blind-writes.js'
import type { Descriptor } from '../../../src/passthrough/descriptor.js'
import { HostFile, write, type HostData } from '../../../src/passthrough/files.js'
import type { HostInode } from '../../../src/passthrough/host-inode.js'
import type { Passthrough } from '../../../src/passthrough/passthrough.js'

const PASSTHROUGH = {
  options: { guestWriteback: false },
  inThread: (_descriptor: Descriptor, work: () => Promise<number>) => work(),
} as unknown as Passthrough

/** A file of a host that refuses RWF_NOWAIT, as ext4 does; notes by which way each write went. */
class Ext4 implements HostData {
  readonly ways: string[] = []
  nowMs = 0
  /** The next write that may wait does. */
  waits = false
  readonly file: HostFile

  constructor() {
    const mount = { blindWrites: new BlindWrites(() => this.nowMs) }
    // All that a write looks at.
    const inode: unknown = { mount }
    const descriptor: unknown = { fd: 3 }
    this.file = new HostFile(inode as HostInode, descriptor as Descriptor, 0)
  }
  readFile(): number {
    return 0
  }
  readFileLater(): Promise<number> {
    return Promise.resolve(0)
  }
  writeFile(
    _fd: number,
    _from: number,
    _offset: number,
    lengthBytes: number,
    _how: number,
    mayWait: boolean,
  ): number {
    if (!mayWait) {
      this.ways.push('at once')
      return -constants.errno.EOPNOTSUPP
    }
    this.ways.push('blind')
    return lengthBytes
  }
  takeWaited(): boolean {
    const { waits } = this
    this.waits = false
    return waits
  }
  writeFileLater(_fd: number, _from: number, _offset: number, lengthBytes: number): Promise<number> {
    this.ways.push('thread')
    return Promise.resolve(lengthBytes)
  }
  async write(sizeBytes: number): Promise<void> {
    assert.equal(await write(PASSTHROUGH, this.file, 0, sizeBytes, 0, 0, this), sizeBytes)
  }
}

describe('writes to a file system that cannot tell', () => {
  it('are tried on the loop after the first, and large ones go to a thread', async () => {
    const host = new Ext4()
    await host.write(4096)
    await host.write(64 << 10)
    await host.write((64 << 10) + 1)
    assert.deepEqual(host.ways, ['at once', 'blind', 'blind', 'thread'])
  })

  it('go to threads for a second after one that waited', async () => {
    const host = new Ext4()
    host.waits = true
    await host.write(4096)
    host.nowMs = 999
    await host.write(4096)
    host.nowMs = 1000
    await host.write(4096)
    assert.deepEqual(host.ways, ['at once', 'blind', 'thread', 'blind'])
  })

  it('that are synchronous or direct are never tried', async () => {
    const host = new Ext4()
    host.file.writesAtOnce = false
    await host.write(4096)
    assert.deepEqual(host.ways, ['thread'])
  })
})
