/** COPY_FILE_RANGE: by the store where it can, refused so that the kernel copies itself where not. */
import assert from 'node:assert/strict'
import { it } from 'node:test'
import { O_CREAT, O_RDONLY, O_RDWR } from '../../frontend/abi.js'
import { codeOf } from '../../frontend/fuse-client.js'
import { assertSameBytes, randomBytes } from '../../support/bytes.js'
import { describeStores, type Served } from '../../support/served.js'

const DATA = randomBytes(1_000_003)

async function copy(
  served: Served,
  from: string,
  to: string,
  length: number,
  fromOffset = 0,
): Promise<number> {
  const fs = served.guestFs()
  const source = await fs.open(from, O_RDONLY)
  const target = await fs.open(to, O_CREAT | O_RDWR)
  try {
    return await served.client.copyFileRange(
      { nodeid: source.nodeid, fh: source.fh, offset: fromOffset },
      { nodeid: target.nodeid, fh: target.fh, offset: 0 },
      length,
    )
  } finally {
    await source.close()
    await target.close()
  }
}

describeStores('copy_file_range', {}, (served, { properties }) => {
  it('copies a whole file, or says that the kernel should', async () => {
    const fs = served().guestFs()
    await fs.writeFile('whole', DATA)
    if (!properties.copies) {
      assert.equal(await codeOf(copy(served(), 'whole', 'copied', 2 ** 31)), 'EOPNOTSUPP')
      return
    }
    assert.equal(await copy(served(), 'whole', 'copied', 2 ** 31), DATA.length)
    assertSameBytes(await fs.readFile('copied'), DATA, 'the copy')
    assertSameBytes((await served().view.read('copied')) ?? Buffer.alloc(0), DATA, 'the stored copy')
    assert.equal((await fs.stat('copied')).size, DATA.length)
  })

  const itWhereCopied: (name: string, work: () => Promise<void>) => unknown = properties.copies
    ? it
    : () => undefined
  void itWhereCopied('takes along what the source has not stored yet', async () => {
    const fs = served().guestFs()
    await fs.writeFile('unsaved', DATA)
    const file = await fs.open('unsaved', O_RDWR)
    await file.write(5, Buffer.from('changed'))
    await copy(served(), 'unsaved', 'unsaved-copy', 2 ** 31)
    await file.close()
    const expected = Buffer.from(DATA)
    expected.write('changed', 5)
    assertSameBytes(await fs.readFile('unsaved-copy'), expected, 'the copy')
  })

  it('leaves parts, small files and full targets to the kernel', async () => {
    const fs = served().guestFs()
    await fs.writeFile('source', DATA)
    await fs.writeFile('small', 'few bytes')
    await fs.writeFile('full', 'already something')
    assert.equal(await codeOf(copy(served(), 'source', 'part', DATA.length, 4096)), 'EOPNOTSUPP')
    assert.equal(await codeOf(copy(served(), 'source', 'part', DATA.length - 1)), 'EOPNOTSUPP')
    assert.equal(await codeOf(copy(served(), 'small', 'part', 2 ** 31)), 'EOPNOTSUPP')
    assert.equal(await codeOf(copy(served(), 'source', 'full', 2 ** 31)), 'EOPNOTSUPP')
    assert.equal(await fs.readText('full'), 'already something')
  })
})
