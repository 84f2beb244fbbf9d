/** A file that was made here, whose first write got no answer: the store may have it, and its name is changed before anybody knows. */
import assert from 'node:assert/strict'
import { describe, it, type TestContext } from 'node:test'
import { LOST } from '../../lib/reference-store/faults.js'
import { REFERENCE_PART_BYTES, ReferenceBackend } from '../../lib/reference-store/reference-backend.js'
import type { Driver } from '../../lib/model/driver.js'
import { drive, O_RDWR } from '../../lib/model/driving.js'

const O_EXCL = 0o200
/** More than a part, so that it is stored by an upload that can be ended again. */
const LONG_BYTES = 3 * REFERENCE_PART_BYTES
/** More than the smallest file that is copied within the store. */
const COPIED_BYTES = 200_000

interface Setup {
  readonly backend: ReferenceBackend
  readonly driver: Driver
  /** The file `new` is open, and its first write has no answer. */
  readonly fh: number
}

/** The store answers no call of `method` until `answers` is called. */
function loses(backend: ReferenceBackend, method: string): void {
  backend.script = (call) => (call.method === method ? LOST : null)
}

function answers(backend: ReferenceBackend): void {
  backend.script = () => null
}

const FIRST_WRITES: readonly {
  readonly name: string
  readonly make: (backend: ReferenceBackend, driver: Driver, fh: number) => Promise<void>
}[] = [
  {
    name: 'a write',
    make: async (backend, driver, fh) => {
      await driver.write(fh, 0, Buffer.from('first'))
      loses(backend, 'write')
      await assert.rejects(driver.fsync(fh), { errno: 'ETIMEDOUT' })
    },
  },
  {
    name: 'an upload',
    make: async (backend, driver, fh) => {
      await driver.write(fh, 0, Buffer.alloc(LONG_BYTES, 'a'))
      loses(backend, 'writer.close')
      await assert.rejects(driver.fsync(fh), { errno: 'ETIMEDOUT' })
    },
  },
  {
    name: 'an upload of what was cut since',
    make: async (backend, driver, fh) => {
      await driver.write(fh, 0, Buffer.alloc(LONG_BYTES, 'a'))
      loses(backend, 'writer.close')
      await assert.rejects(driver.fsync(fh), { errno: 'ETIMEDOUT' })
      await driver.truncateHandle(fh, 0)
    },
  },
  {
    name: 'a copy within the store',
    make: async (backend, driver, fh) => {
      backend.store.outsideWrite('source', Buffer.alloc(COPIED_BYTES, 'S'))
      const source = await driver.open(['source'], O_RDWR)
      loses(backend, 'copy')
      await assert.rejects(driver.copyRange(source, fh, COPIED_BYTES), { errno: 'ETIMEDOUT' })
      await driver.release(source)
    },
  },
]

for (const { name, make } of FIRST_WRITES) {
  describe(`a new file that ${name} may have stored`, () => {
    async function setUp(t: TestContext): Promise<Setup> {
      const backend = new ReferenceBackend({ copy: true })
      const driver = drive(t, backend)
      const fh = await driver.create(['new'], O_RDWR)
      await make(backend, driver, fh)
      assert.ok(backend.store.objects.has('new'))
      return { backend, driver, fh }
    }

    /** Nothing is at the name, so another file can be made there. */
    async function makeAnother({ backend, driver }: Setup): Promise<void> {
      const another = await driver.create(['new'], O_RDWR | O_EXCL)
      await driver.write(another, 0, Buffer.from('another'))
      await driver.close(another)
      assert.equal(backend.store.text('new'), 'another')
    }

    it('leaves nothing when it is removed while it is open', async (t) => {
      const setup = await setUp(t)
      const { backend, driver, fh } = setup
      answers(backend)
      await driver.unlink(['new'])
      assert.equal(backend.store.objects.has('new'), false)
      await makeAnother(setup)
      await driver.release(fh)
      assert.equal(backend.store.text('new'), 'another')
    })

    it('leaves nothing when it is removed after it was closed', async (t) => {
      const setup = await setUp(t)
      const { backend, driver, fh } = setup
      await driver.release(fh).catch(() => undefined)
      answers(backend)
      await driver.unlink(['new'])
      await makeAnother(setup)
    })

    it('leaves nothing when it is renamed', async (t) => {
      const setup = await setUp(t)
      const { backend, driver, fh } = setup
      answers(backend)
      const wanted = await driver.read(fh, 0, COPIED_BYTES)
      await driver.rename(['new'], ['to'], 0)
      assert.equal(backend.store.objects.has('new'), false)
      await makeAnother(setup)
      await driver.close(fh)
      assert.ok(backend.store.objects.get('to')?.data.equals(wanted))
    })

    it('stays where it is as long as nobody knows', async (t) => {
      const { backend, driver, fh } = await setUp(t)
      backend.script = ({ changes, method }) => (changes || method === 'identify' ? LOST : null)
      await assert.rejects(driver.rename(['new'], ['to'], 0), { errno: 'ETIMEDOUT' })
      assert.deepEqual(
        (await driver.list([])).filter((each) => each !== 'source'),
        ['new'],
      )
      answers(backend)
      await driver.close(fh)
    })

    it('is replaced by another new file', async (t) => {
      const { backend, driver, fh } = await setUp(t)
      const other = await driver.create(['other'], O_RDWR)
      await driver.write(other, 0, Buffer.from('other'))
      answers(backend)
      await driver.rename(['other'], ['new'], 0)
      await driver.fsync(other)
      assert.equal(backend.store.text('new'), 'other')
      await driver.fsync(fh)
      await driver.release(fh)
      await driver.close(other)
      assert.equal(backend.store.text('new'), 'other')
    })
  })
}

it('a rename that waits for the first write of a file learns that it got no answer', async (t) => {
  const backend = new ReferenceBackend()
  const driver = drive(t, backend)
  const fh = await driver.create(['new'], O_RDWR)
  await driver.write(fh, 0, Buffer.from('first'))
  // It need not be looked for.
  await assert.rejects(driver.stat(['to']), { errno: 'ENOENT' })
  let writes = 0
  backend.script = ({ method }) => (method === 'write' && ++writes === 1 ? LOST : null)
  const synced = driver.fsync(fh)
  const renamed = driver.rename(['new'], ['to'], 0)
  await assert.rejects(synced, { errno: 'ETIMEDOUT' })
  await renamed
  assert.equal(backend.store.objects.has('new'), false)
  await driver.close(fh)
  assert.equal(backend.store.text('to'), 'first')
})
