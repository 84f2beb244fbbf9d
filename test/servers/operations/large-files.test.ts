/** Files and numbers of files that the pool cannot hold: everything works, only slower. */
import assert from 'node:assert/strict'
import { createHash } from 'node:crypto'
import { it } from 'node:test'
import { O_CREAT, O_RDWR } from '../../frontend/abi.js'
import type { GuestFile } from '../../frontend/guest-fs.js'
import { assertSameBytes, randomBytes, randomNumbers } from '../../support/bytes.js'
import { describeStores, TINY_POOL_BYTES } from '../../support/served.js'
import { cephStore, directoryStore, STORES } from '../../support/stores.js'

const MIB = 1 << 20

/** Every size exceeds the pool, and what is large several parts of an upload; a server gets no more than that. */
const LOCAL_SIZES = {
  largeBytes: 100 * MIB,
  patches: 200,
  dirtyFiles: 40,
  mixedFiles: 12,
  wideBytes: 40 * MIB,
}
const SERVER_SIZES = { largeBytes: 36 * MIB, patches: 50, dirtyFiles: 20, mixedFiles: 6, wideBytes: 24 * MIB }

/** Writes in flight at once, as a guest's write-back has. */
const DEPTH = 8

async function writeAll(file: GuestFile, data: Buffer): Promise<void> {
  let next = 0
  const worker = async (): Promise<void> => {
    while (next < data.length) {
      const offset = next
      next += MIB
      const part = data.subarray(offset, offset + MIB)
      assert.equal(await file.write(offset, part), part.length)
    }
  }
  await Promise.all(Array.from({ length: DEPTH }, worker))
}

function digest(data: Uint8Array): string {
  return createHash('sha256').update(data).digest('hex')
}

for (const writeBack of [false, true]) {
  const settings = { cacheSizeBytes: TINY_POOL_BYTES, writeBack }
  // Of write-back only the uploads that begin by themselves depend on the store: two kinds will do.
  const stores = writeBack ? [directoryStore, cephStore] : STORES
  const title = `a pool of 16 MiB, write-back ${writeBack ? 'on' : 'off'}`
  describeStores(title, { settings, stores }, (served, { properties }) => {
    const sizes = properties.isServer ? SERVER_SIZES : LOCAL_SIZES

    it('takes a file that is larger: sequential, random, shorter, read back', async () => {
      const fs = served().guestFs()
      const { largeBytes } = sizes
      const data = randomBytes(largeBytes, 5)
      const file = await fs.open('large', O_RDWR | O_CREAT)
      await writeAll(file, data)
      await file.close()
      assert.equal(digest(await fs.readFile('large')), digest(data), 'sequential')

      const again = await fs.open('large', O_RDWR)
      const random = randomNumbers(6)
      for (let i = 0; i < sizes.patches; i++) {
        const part = randomBytes(1 + Math.floor(random() * 70_000), i + 1)
        const offset = Math.floor(random() * (largeBytes - part.length))
        part.copy(data, offset)
        assert.equal(await again.write(offset, part), part.length)
      }
      assert.equal(digest(await again.readAll()), digest(data), 'random, unsaved')
      await again.close()
      assert.equal(digest(await fs.readFile('large')), digest(data), 'random, saved')

      const half = largeBytes / 2 + 1
      await fs.truncate('large', half)
      assert.equal(digest(await fs.readFile('large')), digest(data.subarray(0, half)), 'cut')
      assert.ok(served().stats().cache.leasedBytes <= TINY_POOL_BYTES)
      await fs.unlink('large')
    })

    it('lets many files be dirty at once, more than it holds', async () => {
      const fs = served().guestFs()
      const count = sizes.dirtyFiles
      const each = MIB + 4321
      const files = await Promise.all(
        Array.from({ length: count }, (_, i) => fs.open(`dirty${i}`, O_RDWR | O_CREAT)),
      )
      // Round about, so that all of them grow together.
      const half = Math.floor(each / 2)
      await Promise.all(files.map((file, i) => file.write(0, randomBytes(each, i + 1).subarray(0, half))))
      await Promise.all(files.map((file, i) => file.write(half, randomBytes(each, i + 1).subarray(half))))
      for (const [i, file] of files.entries()) {
        assertSameBytes(await file.readAll(), randomBytes(each, i + 1), `unsaved ${i}`)
      }
      await Promise.all(files.map((file) => file.close()))
      for (let i = 0; i < count; i++) {
        assertSameBytes(await fs.readFile(`dirty${i}`), randomBytes(each, i + 1), `saved ${i}`)
        await fs.unlink(`dirty${i}`)
      }
    })

    it('takes random writes into many stored files at once', async () => {
      const fs = served().guestFs()
      const count = sizes.mixedFiles
      const size = 3 * MIB
      const contents = Array.from({ length: count }, (_, i) => randomBytes(size, 100 + i))
      for (const [i, data] of contents.entries()) await fs.writeFile(`mixed${i}`, data)
      const files = await Promise.all(contents.map((_, i) => fs.open(`mixed${i}`, O_RDWR)))
      const random = randomNumbers(7)
      for (let round = 0; round < 15; round++) {
        await Promise.all(
          files.map(async (file, i) => {
            const part = randomBytes(1 + Math.floor(random() * 200_000), round * count + i + 1)
            const offset = Math.floor(random() * (size - part.length))
            part.copy(contents[i] ?? part, offset)
            assert.equal(await file.write(offset, part), part.length)
          }),
        )
      }
      for (const [i, file] of files.entries())
        assertSameBytes(await file.readAll(), contents[i] ?? Buffer.alloc(0), `unsaved ${i}`)
      await Promise.all(files.map((file) => file.close()))
      for (const [i, data] of contents.entries()) {
        assertSameBytes(await fs.readFile(`mixed${i}`), data, `saved ${i}`)
        await fs.unlink(`mixed${i}`)
      }
      assert.equal(served().stats().cache.waiters, 0)
    })

    it('reads more at once than it holds', async () => {
      const fs = served().guestFs()
      const data = randomBytes(sizes.wideBytes, 9)
      await fs.writeFile('wide', data)
      const file = await fs.open('wide')
      const parts = await Promise.all(
        Array.from({ length: sizes.wideBytes / MIB }, (_, i) => file.read(i * MIB, MIB)),
      )
      assert.equal(digest(Buffer.concat(parts)), digest(data))
      await file.close()
      await fs.unlink('wide')
    })
  })
}
