/** Files and numbers of files that the pool cannot hold: everything works, only slower. */
import assert from 'node:assert/strict'
import { createHash } from 'node:crypto'
import { it } from 'node:test'
import { O_CREAT, O_RDWR } from '../frontend/abi.js'
import type { GuestFile } from '../frontend/guest-fs.js'
import { assertSameBytes, randomBytes, randomNumbers } from '../support/bytes.js'
import { describeStores, TINY_POOL_BYTES } from '../support/served.js'
import { directoryStore, STORES } from '../support/stores.js'

const MIB = 1 << 20
const LARGE_BYTES = 100 * MIB
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
  // Nothing of write-back depends on the store: one will do.
  const stores = writeBack ? [directoryStore] : STORES
  const title = `a pool of 16 MiB, write-back ${writeBack ? 'on' : 'off'}`
  describeStores(title, { settings, stores }, (served) => {
    it('takes a file of 100 MiB: sequential, random, shorter, read back', async () => {
      const fs = served().guestFs()
      const data = randomBytes(LARGE_BYTES, 5)
      const file = await fs.open('large', O_RDWR | O_CREAT)
      await writeAll(file, data)
      await file.close()
      assert.equal(digest(await fs.readFile('large')), digest(data), 'sequential')

      const again = await fs.open('large', O_RDWR)
      const random = randomNumbers(6)
      for (let i = 0; i < 200; i++) {
        const part = randomBytes(1 + Math.floor(random() * 70_000), i + 1)
        const offset = Math.floor(random() * (LARGE_BYTES - part.length))
        part.copy(data, offset)
        assert.equal(await again.write(offset, part), part.length)
      }
      assert.equal(digest(await again.readAll()), digest(data), 'random, unsaved')
      await again.close()
      assert.equal(digest(await fs.readFile('large')), digest(data), 'random, saved')

      await fs.truncate('large', 50 * MIB + 1)
      assert.equal(digest(await fs.readFile('large')), digest(data.subarray(0, 50 * MIB + 1)), 'cut')
      assert.ok(served().stats().cache.leasedBytes <= TINY_POOL_BYTES)
      await fs.unlink('large')
    })

    it('lets many files be dirty at once, more than it holds', async () => {
      const fs = served().guestFs()
      const count = 40
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
      const count = 12
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
      const data = randomBytes(40 * MIB, 9)
      await fs.writeFile('wide', data)
      const file = await fs.open('wide')
      const parts = await Promise.all(Array.from({ length: 40 }, (_, i) => file.read(i * MIB, MIB)))
      assert.equal(digest(Buffer.concat(parts)), digest(data))
      await file.close()
      await fs.unlink('wide')
    })
  })
}
