/** READ and WRITE at any offset and of any size, checked against an array. */
import assert from 'node:assert/strict'
import { it } from 'node:test'
import { O_CREAT, O_RDWR, PAGE_BYTES } from '../../frontend/abi.js'
import { codeOf, type Layout } from '../../frontend/fuse-client.js'
import { assertSameBytes, randomBytes, randomNumbers } from '../../support/bytes.js'
import { describeStores } from '../../support/served.js'

const MIB = 1 << 20
/** Around every border there is: pages, the size classes of slabs, the largest request. */
const BORDERS = [1, 511, 512, 513, 4095, 4096, 4097, 16_384, 65_535, 65_537, 262_144, MIB - 1, MIB, MIB + 1]

describeStores('read and write', {}, (served) => {
  for (const layout of ['kernel', 'single', 'shredded'] satisfies Layout[]) {
    it(`gives back what was written, of every size (${layout} layout)`, async () => {
      const { client } = served()
      const fs = served().guestFs()
      client.defaults.layout = layout
      try {
        for (const size of BORDERS) {
          const data = randomBytes(size, size)
          await fs.writeFile('sizes', data)
          assertSameBytes(await fs.readFile('sizes'), data, `${size} bytes`)
        }
      } finally {
        client.defaults.layout = 'kernel'
      }
    })
  }

  it('reads nothing at and behind the end, and less than asked for across it', async () => {
    const fs = served().guestFs()
    await fs.writeFile('short', 'ten bytes.')
    const file = await fs.open('short')
    assert.equal((await file.read(9, 100)).toString(), '.')
    assert.equal((await file.read(10, 100)).length, 0)
    assert.equal((await file.read(1_000_000, 100)).length, 0)
    assert.equal((await file.read(0, 0)).length, 0)
    assert.equal((await file.read(Number.MAX_SAFE_INTEGER, 100)).length, 0)
    await file.close()
  })

  it('takes an empty write without growing the file', async () => {
    const { client } = served()
    const fs = served().guestFs()
    await fs.writeFile('empty-write', 'abc')
    const file = await fs.open('empty-write', O_RDWR)
    assert.equal(await client.write(file.nodeid, file.fh, 1000, new Uint8Array()), 0)
    assert.equal((await file.stat()).size, 3)
    await file.close()
  })

  it('refuses to write where no offset can be kept', async () => {
    const { client } = served()
    const fs = served().guestFs()
    const file = await fs.open('too-far', O_RDWR | O_CREAT)
    for (const offset of [2n ** 53n, 2n ** 63n - 1n, 2n ** 64n - 1n]) {
      assert.equal(await codeOf(client.write(file.nodeid, file.fh, offset, Buffer.from('x'))), 'EFBIG')
    }
    assert.equal((await file.stat()).size, 0)
    await file.close()
  })

  it('leaves zeros between the old end and a write behind it', async () => {
    const fs = served().guestFs()
    for (const gap of [1, PAGE_BYTES - 1, PAGE_BYTES, 3 * PAGE_BYTES + 7, 5 * MIB + 13]) {
      const expected = Buffer.concat([Buffer.from('begin'), Buffer.alloc(gap), Buffer.from('end')])
      const file = await fs.open('sparse', O_RDWR | O_CREAT | 0o1000)
      await file.write(0, 'begin')
      await file.write(5 + gap, 'end')
      assertSameBytes(await file.readAll(), expected, `unsaved, gap ${gap}`)
      await file.close()
      assertSameBytes(await fs.readFile('sparse'), expected, `saved, gap ${gap}`)
      if (served().hasView) assertSameBytes((await served().view.read('sparse')) ?? Buffer.alloc(0), expected)
      // And in a file that the store has already.
      const again = await fs.open('sparse', O_RDWR)
      await again.write(expected.length + gap, 'x')
      await again.close()
      assertSameBytes(
        await fs.readFile('sparse'),
        Buffer.concat([expected, Buffer.alloc(gap), Buffer.from('x')]),
      )
    }
  })

  it('changes pieces of a stored file and keeps the rest', async () => {
    const fs = served().guestFs()
    const expected = randomBytes(3 * MIB + 777)
    await fs.writeFile('patched', expected)
    const file = await fs.open('patched', O_RDWR)
    for (const [offset, length] of [
      [0, 1],
      [4095, 2],
      [MIB - 5, 10],
      [2 * MIB + 1, PAGE_BYTES],
      [expected.length - 1, 1],
    ] as const) {
      const data = randomBytes(length, offset + 2)
      data.copy(expected, offset)
      await file.write(offset, data)
      const start = Math.max(0, offset - 10)
      assertSameBytes(await file.read(start, length + 20), expected.subarray(start, start + length + 20))
    }
    assertSameBytes(await file.readAll(), expected, 'unsaved')
    await file.close()
    assertSameBytes(await fs.readFile('patched'), expected, 'saved')
    if (served().hasView) assertSameBytes((await served().view.read('patched')) ?? Buffer.alloc(0), expected)
  })

  it('is right at random offsets and sizes, with and without the store in between', async () => {
    const fs = served().guestFs()
    const random = randomNumbers(20)
    let expected = Buffer.alloc(0)
    let file = await fs.open('random', O_RDWR | O_CREAT)
    for (let step = 0; step < 300; step++) {
      const offset = Math.floor(random() * 600_000)
      const length = 1 + Math.floor(random() ** 3 * 200_000)
      if (random() < 0.5) {
        const data = randomBytes(length, step + 1)
        if (expected.length < offset + length)
          expected = Buffer.concat([expected, Buffer.alloc(offset + length - expected.length)])
        data.copy(expected, offset)
        assert.equal(await file.write(offset, data), length)
      } else {
        assertSameBytes(
          await file.read(offset, length),
          expected.subarray(offset, offset + length),
          `step ${step}`,
        )
      }
      if (random() < 0.05) await file.fsync()
      if (random() < 0.05) {
        await file.close()
        file = await fs.open('random', O_RDWR)
      }
    }
    await file.close()
    assertSameBytes(await fs.readFile('random'), expected)
  })

  it('shows every handle what the others wrote', async () => {
    const fs = served().guestFs()
    const first = await fs.open('two-handles', O_RDWR | O_CREAT)
    const second = await fs.open('two-handles', O_RDWR)
    await first.write(0, 'from the first')
    assert.equal((await second.readAll()).toString(), 'from the first')
    await second.write(9, 'second')
    assert.equal((await first.readAll()).toString(), 'from the second')
    await first.close()
    assert.equal((await second.readAll()).toString(), 'from the second')
    await second.write(0, 'FROM')
    await second.close()
    assert.equal(await fs.readText('two-handles'), 'FROM the second')
  })

  it('answers many reads and writes in flight, over both request queues', async () => {
    const served2 = served()
    const fs = served2.guestFs()
    const pages = 64
    const file = await fs.open('in-flight', O_RDWR | O_CREAT)
    const page = (i: number): Buffer => randomBytes(PAGE_BYTES, i + 1)
    await Promise.all(Array.from({ length: pages }, (_, i) => file.write(i * PAGE_BYTES, page(i))))
    const parts = await Promise.all(
      Array.from({ length: pages }, (_, i) => file.read(i * PAGE_BYTES, PAGE_BYTES)),
    )
    parts.forEach((part, i) => {
      assertSameBytes(part, page(i), `page ${i}`)
    })
    await file.close()
    assertSameBytes(
      await fs.readFile('in-flight'),
      Buffer.concat(Array.from({ length: pages }, (_, i) => page(i))),
    )
  })

  it('answers a burst of unequal requests in one kick', async () => {
    const { client } = served()
    const fs = served().guestFs()
    await fs.writeFile('burst', 'contents')
    const nodeid = await served().nodeid('m/burst')
    const { fh } = await client.open(nodeid, O_RDWR)
    client.front.cork(1)
    const answers = [
      client.read(nodeid, fh, 0, 8).then((data) => Buffer.from(data).toString()),
      client.getattr(nodeid).then(({ attr }) => attr.size),
      codeOf(client.lookup(nodeid, 'x')),
      client.write(nodeid, fh, 8, Buffer.from('!')),
      client.read(nodeid, fh, 0, 100).then((data) => Buffer.from(data).toString()),
      codeOf(client.getattr(99_999)),
    ]
    client.front.uncork(1)
    assert.deepEqual(await Promise.all(answers), ['contents', 8, 'ENOTDIR', 1, 'contents!', 'ESTALE'])
    await client.flush(nodeid, fh)
    await client.release(nodeid, fh)
  })
})
