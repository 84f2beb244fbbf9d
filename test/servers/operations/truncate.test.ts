/** SETATTR of the size: down, up, with a handle and without, and what a file shows when it grows again. */
import assert from 'node:assert/strict'
import { it } from 'node:test'
import { O_CREAT, O_RDONLY, O_RDWR, O_TRUNC } from '../../frontend/abi.js'
import { codeOf } from '../../frontend/fuse-client.js'
import { assertSameBytes, randomBytes } from '../../support/bytes.js'
import { describeStores, type Served } from '../../support/served.js'
import { STORES_AND_WEBDAV } from '../../support/stores.js'

const SIZES = [0, 1, 4095, 4096, 4097, 100_000]
const FULL = randomBytes(300_001)

function resized(data: Buffer, size: number): Buffer {
  return Buffer.concat([data.subarray(0, size), Buffer.alloc(Math.max(0, size - data.length))])
}

async function stored(served: Served, name: string): Promise<Buffer | null> {
  return served.hasView ? served.view.read(name) : served.guestFs().readFile(name)
}

describeStores('truncate', { stores: STORES_AND_WEBDAV }, (served) => {
  it('cuts a stored file without a handle, and the store has it when the call returns', async () => {
    const fs = served().guestFs()
    for (const size of SIZES) {
      await fs.writeFile('path-down', FULL)
      await fs.truncate('path-down', size)
      assertSameBytes(
        (await stored(served(), 'path-down')) ?? Buffer.alloc(0),
        resized(FULL, size),
        `${size} stored`,
      )
      assertSameBytes(await fs.readFile('path-down'), resized(FULL, size), `${size}`)
    }
  })

  it('lengthens a stored file with zeros without a handle', async () => {
    const fs = served().guestFs()
    for (const size of [5, 4096, 4097, 9_000_000]) {
      await fs.writeFile('path-up', 'abc')
      await fs.truncate('path-up', size)
      assert.equal((await fs.stat('path-up')).size, size)
      assertSameBytes(
        (await stored(served(), 'path-up')) ?? Buffer.alloc(0),
        resized(Buffer.from('abc'), size),
        `${size}`,
      )
      assertSameBytes(await fs.readFile('path-up'), resized(Buffer.from('abc'), size), `${size}`)
    }
  })

  it('shows zeros, not the old bytes, when a file grows again', async () => {
    const fs = served().guestFs()
    for (const size of SIZES) {
      await fs.writeFile('regrown', FULL)
      const file = await fs.open('regrown', O_RDWR)
      // Half of it in the cache, so that both ways are seen.
      await file.read(0, 150_000)
      await file.truncate(size)
      await file.truncate(200_000)
      const expected = resized(resized(FULL, size), 200_000)
      assertSameBytes(await file.readAll(), expected, `${size} unsaved`)
      await file.close()
      assertSameBytes(await fs.readFile('regrown'), expected, `${size} saved`)
      assertSameBytes((await stored(served(), 'regrown')) ?? Buffer.alloc(0), expected, `${size} stored`)
    }
  })

  it('shows zeros in an unsaved file that is cut and grows by a write', async () => {
    const fs = served().guestFs()
    const file = await fs.open('unsaved', O_RDWR | O_CREAT)
    await file.write(0, randomBytes(50_000))
    await file.truncate(10)
    await file.write(40_000, 'tail')
    const expected = Buffer.concat([
      randomBytes(50_000).subarray(0, 10),
      Buffer.alloc(39_990),
      Buffer.from('tail'),
    ])
    assertSameBytes(await file.readAll(), expected)
    await file.close()
    assertSameBytes(await fs.readFile('unsaved'), expected)
  })

  it('cuts, saves, grows and saves again', async () => {
    const fs = served().guestFs()
    await fs.writeFile('saved-between', FULL)
    const file = await fs.open('saved-between', O_RDWR)
    await file.truncate(5000)
    await file.fsync()
    await file.truncate(20_000)
    await file.fsync()
    await file.write(15_000, 'x')
    await file.close()
    const expected = resized(resized(FULL, 5000), 20_000)
    expected.write('x', 15_000)
    assertSameBytes(await fs.readFile('saved-between'), expected)
    assertSameBytes((await stored(served(), 'saved-between')) ?? Buffer.alloc(0), expected)
  })

  it('by O_TRUNC empties a file that others have open', async () => {
    const fs = served().guestFs()
    await fs.writeFile('emptied', FULL)
    const reader = await fs.open('emptied', O_RDONLY)
    assertSameBytes(await reader.read(0, 10), FULL.subarray(0, 10))
    const writer = await fs.open('emptied', O_RDWR | O_TRUNC)
    assert.equal((await reader.read(0, 10)).length, 0)
    await writer.write(0, 'new')
    assert.equal((await reader.read(0, 10)).toString(), 'new')
    await writer.close()
    await reader.close()
    assert.equal(await fs.readText('emptied'), 'new')
  })

  it('by O_TRUNC alone empties the store when the file is closed', async () => {
    const fs = served().guestFs()
    await fs.writeFile('trunc-only', 'old')
    await (await fs.open('trunc-only', O_RDWR | O_TRUNC)).close()
    assert.equal((await stored(served(), 'trunc-only'))?.length, 0)
  })

  it('to the size that it has changes no contents', async () => {
    const fs = served().guestFs()
    await fs.writeFile('same', 'contents')
    await fs.truncate('same', 8)
    assert.equal(await fs.readText('same'), 'contents')
  })

  it('is EISDIR of a directory and EFBIG of a size that cannot be kept', async () => {
    const { client } = served()
    const fs = served().guestFs()
    await fs.mkdir('a-directory')
    await fs.writeFile('a-file', 'x')
    assert.equal(await codeOf(client.setattr(await served().nodeid('m/a-directory'), { size: 0 })), 'EISDIR')
    const file = await served().nodeid('m/a-file')
    assert.equal(await codeOf(client.setattr(file, { size: 2n ** 53n })), 'EFBIG')
    assert.equal(await codeOf(client.setattr(file, { size: 2n ** 64n - 1n })), 'EFBIG')
    assert.equal(await fs.readText('a-file'), 'x')
  })

  it('refuses sizes that the store could never take, at once', async () => {
    const fs = served().guestFs()
    await fs.writeFile('huge', 'abc')
    const code = await codeOf(fs.truncate('huge', 2 ** 52))
    assert.ok(code === 'EFBIG' || code === 'ENOSPC', code)
    assert.equal(await fs.readText('huge'), 'abc')
    await fs.unlink('huge')
    assert.equal(await codeOf(fs.stat('huge')), 'ENOENT')
  })
})
