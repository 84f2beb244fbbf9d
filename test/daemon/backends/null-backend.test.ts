/** type = "null": names and sizes are kept, contents are not. */
import assert from 'node:assert/strict'
import { after, before, describe, it } from 'node:test'
import { NullBackend } from '../../../src/backends/local/null-backend.js'
import { StorageError } from '../../../src/backends/storage-error.js'
import { O_CREAT, O_RDWR, O_WRONLY } from '../../frontend/abi.js'
import { codeOf } from '../../frontend/fuse-client.js'
import type { GuestFs } from '../../frontend/guest-fs.js'
import { serve, TINY_POOL_BYTES, type Served } from '../../support/served.js'

const MIB = 1 << 20

const nullStore = {
  prepare: () =>
    Promise.resolve({
      ...{ type: 'null', options: {}, view: null, hostDirectory: null },
      dispose: () => Promise.resolve(),
    }),
}

async function errnoOf(promise: Promise<unknown>): Promise<string> {
  try {
    await promise
    return 'OK'
  } catch (error) {
    if (error instanceof StorageError) return error.errno
    throw error
  }
}

describe('the null store', () => {
  it('keeps names, sizes and times', async () => {
    const store = new NullBackend()
    assert.equal((await store.stat(''))?.kind, 'directory')
    assert.equal(await store.stat('a'), null)
    const { version, sizeBytes } = await store.write('a', Buffer.from('abc'))
    assert.equal(sizeBytes, 3)
    assert.deepEqual([...(await store.read('a', 1, 2, version))], [0, 0])
    assert.equal(await errnoOf(store.read('a', 1, 3, version)), 'ESTALE')
    const appended = await store.append('a', Buffer.alloc(7))
    assert.equal(appended.sizeBytes, 10)
    assert.equal(await errnoOf(store.read('a', 0, 1, version)), 'ESTALE')
    assert.equal((await store.copy('a', 'd/b')).sizeBytes, 10)
    await store.setModificationTime('a', { seconds: 1, nanoseconds: 2 })
    assert.deepEqual((await store.stat('a'))?.mtime, { seconds: 1, nanoseconds: 2 })
    const writer = await store.createWriter('a')
    await writer.write(Buffer.alloc(100))
    assert.equal((await store.stat('a'))?.sizeBytes, 10)
    await writer.write(Buffer.alloc(100))
    assert.equal((await writer.close()).sizeBytes, 200)
  })

  it('keeps a tree, and refuses what a tree does not allow', async () => {
    const store = new NullBackend()
    await store.createDirectory('d')
    await store.write('d/f', Buffer.alloc(1))
    await store.write('.ovfsd/hidden', Buffer.alloc(1))
    const names = async (path: string): Promise<string[]> =>
      (await store.list(path)).map(({ name, kind }) => `${name} ${kind}`)
    assert.deepEqual(await names(''), ['d directory'])
    assert.deepEqual(await names('d'), ['f file'])
    assert.deepEqual(await names('nothing'), [])
    assert.equal(await errnoOf(store.removeDirectory('d')), 'ENOTEMPTY')
    assert.equal(await errnoOf(store.removeFile('d')), 'ENOENT')
    assert.equal(await errnoOf(store.write('d', Buffer.alloc(1))), 'EISDIR')
    assert.equal(await errnoOf(store.rename('x', 'y', 'file')), 'ENOENT')
    await store.write('g', Buffer.alloc(2))
    await store.rename('g', 'd/f', 'file')
    assert.equal((await store.stat('d/f'))?.sizeBytes, 2)
    await store.rename('d', 'e', 'directory')
    assert.deepEqual(await names(''), ['e directory'])
    await store.removeFile('e/f')
    await store.removeDirectory('e')
    assert.deepEqual(await names(''), [])
  })
})

for (const writeBack of [false, true]) {
  describe(`a mount of the null store (${writeBack ? 'write-back' : 'write-through'})`, () => {
    let served: Served
    let files: GuestFs
    before(async () => {
      const settings = { writeBack, cacheSizeBytes: TINY_POOL_BYTES }
      served = await serve({ mounts: [{ store: nullStore }], settings })
      files = served.guestFs('m')
    })
    after(() => served.close())

    it('takes files that are larger than the cache, and reads them as zeros', async () => {
      const sizeMib = 96
      const file = await files.open('large', O_CREAT | O_WRONLY)
      const data = Buffer.alloc(MIB, 'x')
      for (let i = 0; i < sizeMib; i++) assert.equal(await file.write(i * MIB, data), MIB)
      await file.close()
      assert.equal((await files.stat('large')).size, sizeMib * MIB)
      const back = await files.open('large')
      // The cache may still hold the end.
      for (let i = 0; i < sizeMib / 2; i += 7)
        assert.ok((await back.read(i * MIB, MIB)).equals(Buffer.alloc(MIB)), `${i} MiB`)
      await back.close()
    })

    it('has names as any other', async () => {
      await files.mkdir('d')
      await files.writeFile('d/f', 'abc')
      await files.rename('d', 'e')
      assert.deepEqual(await files.list('e'), ['f'])
      assert.equal((await files.stat('e/f')).size, 3)
      await files.truncate('e/f', 5000)
      assert.equal((await files.stat('e/f')).size, 5000)
      const open = await files.open('e/f', O_RDWR)
      await files.unlink('e/f')
      await open.write(5000, 'more')
      assert.equal((await open.stat()).size, 5004)
      await open.close()
      assert.equal(await codeOf(files.rmdir('large')), 'ENOTDIR')
      await files.rmdir('e')
      assert.deepEqual(await files.list(), ['large'])
    })
  })
}
