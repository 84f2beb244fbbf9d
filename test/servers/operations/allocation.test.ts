/** FALLOCATE and LSEEK: space that is not there to be reserved, and holes that no store keeps. */
import assert from 'node:assert/strict'
import { it } from 'node:test'
import { O_CREAT, O_RDWR, SEEK_CUR, SEEK_DATA, SEEK_HOLE } from '../../frontend/abi.js'
import { codeOf } from '../../frontend/fuse-client.js'
import { assertSameBytes, randomBytes } from '../../support/bytes.js'
import { describeStores } from '../../support/served.js'

const KEEP_SIZE = 0x01
const PUNCH_HOLE = 0x02
const COLLAPSE_RANGE = 0x08
const ZERO_RANGE = 0x10
const INSERT_RANGE = 0x20
const UNSHARE_RANGE = 0x40

const FULL = randomBytes(200_000)

describeStores('fallocate', {}, (served) => {
  it('lengthens the file with zeros', async () => {
    const { client } = served()
    const fs = served().guestFs()
    const file = await fs.open('longer', O_RDWR | O_CREAT)
    await file.write(0, 'abc')
    await client.fallocate(file.nodeid, file.fh, 0, 10_000)
    assert.equal((await file.stat()).size, 10_000)
    await client.fallocate(file.nodeid, file.fh, 0, 5000)
    assert.equal((await file.stat()).size, 10_000)
    await file.close()
    assertSameBytes(await fs.readFile('longer'), Buffer.concat([Buffer.from('abc'), Buffer.alloc(9997)]))
  })

  it('with KEEP_SIZE changes nothing that can be seen', async () => {
    const { client } = served()
    const fs = served().guestFs()
    await fs.writeFile('kept', FULL)
    const file = await fs.open('kept', O_RDWR)
    await client.fallocate(file.nodeid, file.fh, 100, 10_000_000, KEEP_SIZE)
    await file.close()
    assertSameBytes(await fs.readFile('kept'), FULL)
  })

  for (const [name, mode] of [
    ['PUNCH_HOLE', PUNCH_HOLE | KEEP_SIZE],
    ['ZERO_RANGE', ZERO_RANGE | KEEP_SIZE],
  ] as const) {
    it(`with ${name} zeros a range and no more`, async () => {
      const { client } = served()
      const fs = served().guestFs()
      for (const [offset, length] of [
        [0, 10],
        [4095, 4098],
        [50_000, 100_000],
        [199_999, 1],
        [190_000, 1_000_000],
      ] as const) {
        await fs.writeFile('zeroed', FULL)
        const file = await fs.open('zeroed', O_RDWR)
        await client.fallocate(file.nodeid, file.fh, offset, length, mode)
        const expected = Buffer.from(FULL)
        expected.fill(0, offset, Math.min(expected.length, offset + length))
        assertSameBytes(await file.readAll(), expected, 'unsaved')
        await file.close()
        assertSameBytes(await fs.readFile('zeroed'), expected, 'saved')
      }
    })
  }

  it('with ZERO_RANGE alone lengthens the file, too', async () => {
    const { client } = served()
    const fs = served().guestFs()
    await fs.writeFile('zeroed-longer', 'abcdef')
    const file = await fs.open('zeroed-longer', O_RDWR)
    await client.fallocate(file.nodeid, file.fh, 3, 10, ZERO_RANGE)
    await file.close()
    assertSameBytes(await fs.readFile('zeroed-longer'), Buffer.from('abc\0\0\0\0\0\0\0\0\0\0'))
  })

  it('refuses what no store can do, and ranges that cannot be kept', async () => {
    const { client } = served()
    const fs = served().guestFs()
    await fs.writeFile('refused', 'abc')
    const file = await fs.open('refused', O_RDWR)
    for (const mode of [
      COLLAPSE_RANGE,
      INSERT_RANGE,
      UNSHARE_RANGE,
      0x80,
      PUNCH_HOLE | ZERO_RANGE | KEEP_SIZE,
    ]) {
      assert.equal(await codeOf(client.fallocate(file.nodeid, file.fh, 0, 1, mode)), 'EOPNOTSUPP')
    }
    assert.equal(await codeOf(client.fallocate(file.nodeid, file.fh, 0, 2n ** 63n)), 'EFBIG')
    assert.equal(await codeOf(client.fallocate(file.nodeid, file.fh, 2n ** 64n - 1n, 1)), 'EFBIG')
    assert.equal(await codeOf(client.fallocate(file.nodeid, 4242, 0, 1)), 'EBADF')
    await file.close()
    assert.equal(await fs.readText('refused'), 'abc')
  })
})

describeStores('lseek', {}, (served) => {
  it('finds data everywhere and one hole at the end', async () => {
    const { client } = served()
    const fs = served().guestFs()
    await fs.writeFile('seek', '0123456789')
    const file = await fs.open('seek', O_RDWR)
    const seek = (offset: number, whence: number): Promise<number> =>
      client.lseek(file.nodeid, file.fh, offset, whence)
    assert.equal(await seek(0, SEEK_DATA), 0)
    assert.equal(await seek(7, SEEK_DATA), 7)
    assert.equal(await seek(0, SEEK_HOLE), 10)
    assert.equal(await seek(9, SEEK_HOLE), 10)
    assert.equal(await codeOf(seek(10, SEEK_DATA)), 'ENXIO')
    assert.equal(await codeOf(seek(10, SEEK_HOLE)), 'ENXIO')
    await file.write(10, 'more')
    assert.equal(await seek(0, SEEK_HOLE), 14)
    assert.equal(await codeOf(seek(0, SEEK_CUR)), 'EINVAL')
    assert.equal(await codeOf(seek(0, 99)), 'EINVAL')
    assert.equal(await codeOf(client.lseek(file.nodeid, 4242, 0, SEEK_DATA)), 'EBADF')
    await file.close()
  })
})
