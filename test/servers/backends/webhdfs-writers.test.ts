/**
 * Writers beside each other on a real HDFS, and answers that are lost: between every two requests that an operation makes
 * somebody else does something, or the network does.
 */
import assert from 'node:assert/strict'
import { randomUUID } from 'node:crypto'
import { after, before, beforeEach, describe, it } from 'node:test'
import type { Backend, ObjectStat } from '../../../src/backends/backend.js'
import { createBackend } from '../../../src/backends/create-backend.js'
import { StorageError } from '../../../src/backends/storage-error.js'
import { newWriteMark } from '../../../src/backends/write-mark.js'
import { WebHdfsClient } from '../clients.js'
import { hdfsProblem, startHdfs, type Hdfs } from '../hdfs.js'
import { FaultyFront, type Fault } from '../../lib/backends/faulty-front.js'
import { forEachRequestAfter, MAX_REQUESTS, outcomeOf, waysToWrite } from '../../lib/backends/writers.js'

const TIMEOUT_MS = 20_000
const problem = hdfsProblem()

describe('two writers on HDFS', { skip: problem === null ? false : `NO HDFS TESTS: ${problem}` }, () => {
  let hdfs: Hdfs
  let other: WebHdfsClient
  let nameNode: FaultyFront
  let dataNode: FaultyFront
  let root: string
  let backend: Backend

  before(async () => {
    hdfs = await startHdfs({})
    other = new WebHdfsClient({ endpoint: hdfs.httpEndpoint, user: hdfs.user })
    nameNode = await FaultyFront.start(hdfs.httpEndpoint)
    dataNode = await FaultyFront.start(hdfs.dataNodeHttpEndpoint)
    nameNode.redirect = { from: hdfs.dataNodeHttpEndpoint, to: dataNode.origin }
  })
  after(async () => {
    await nameNode.stop()
    await dataNode.stop()
    await hdfs.stop()
  })
  beforeEach(() => begin())

  async function begin(): Promise<void> {
    onRequest(() => null)
    root = `/mount-${randomUUID()}`
    await other.mkdirs(`${root}/.ovfsd`)
    const options = { endpoint: nameNode.origin, user: hdfs.user, root }
    backend = createBackend({ type: 'hdfs', options, timeoutMs: TIMEOUT_MS })
  }

  /** Of both nodes, in the order of sending. */
  function onRequest(decide: (what: string, index: number) => Fault | Promise<Fault>): { count: number } {
    const seen = { count: 0 }
    for (const front of [nameNode, dataNode]) {
      front.decide = ({ method, url }) =>
        decide(`${method ?? ''} ${/op=\w+/.exec(url ?? '')?.[0] ?? ''}`, seen.count++)
    }
    return seen
  }

  async function contents(name: string): Promise<string | null> {
    return (await other.read(`${root}/${name}`))?.toString() ?? null
  }

  async function stored(name: string, text: string): Promise<ObjectStat> {
    await other.create(`${root}/${name}`, text)
    const stat = await backend.stat(name)
    assert.ok(stat !== null)
    return stat
  }

  const forEachRequest = (attempt: (turn: number) => Promise<{ count: number }>): Promise<void> =>
    forEachRequestAfter(begin, attempt)

  const writes = waysToWrite(() => backend)

  for (const [name, write] of Object.entries(writes)) {
    it(`${name} replaces nobody else's file, save in the moment of the rename`, async () => {
      await forEachRequest(async (turn) => {
        const { version } = await stored('f', 'old')
        let at = ''
        const seen = onRequest(async (what, index) => {
          if (index === turn) {
            at = what
            await other.create(`${root}/f`, 'theirs')
          }
          return null
        })
        const result = await outcomeOf(write('ours', version, { mark: newWriteMark() }))
        if (seen.count <= turn || /RENAME/.test(at)) return seen
        const isAfter = !(result instanceof StorageError)
        if (!isAfter) assert.deepEqual([result.errno, result.outcome], ['ESTALE', 'refused'], at)
        assert.equal(await contents('f'), 'theirs', at)
        return seen
      })
    })

    it(`${name} makes a new file only where none is, at any moment`, async () => {
      await forEachRequest(async (turn) => {
        const seen = onRequest(async (_what, index) => {
          if (index === turn) await other.create(`${root}/f`, 'theirs')
          return null
        })
        const result = await outcomeOf(write('ours', null, { mark: newWriteMark() }))
        if (seen.count <= turn) return seen
        if (result instanceof StorageError)
          assert.deepEqual([result.errno, result.outcome], ['EEXIST', 'refused'])
        assert.equal(await contents('f'), 'theirs')
        return seen
      })
    })

    for (const expectsOld of [true, false]) {
      it(`${name} is done or refused whichever answer is lost (${expectsOld ? 'over a file' : 'a new file'})`, async () => {
        await forEachRequest(async (turn) => {
          const version = expectsOld ? (await stored('f', 'old')).version : null
          const mark = newWriteMark()
          const at: string[] = []
          const seen = onRequest((what, index) => {
            at.push(what)
            return index === turn ? 'lose-answer' : null
          })
          const result = await outcomeOf(write('ours', version, { mark }))
          const { count } = seen
          onRequest(() => null)
          if (result instanceof StorageError) {
            assert.deepEqual(
              [result.outcome, result.retryable],
              ['refused', true],
              `${at[turn] ?? ''} ${result.message}`,
            )
            assert.equal(await contents('f'), expectsOld ? 'old' : null)
            await write('ours', version, { mark })
          } else assert.equal(result.version, (await backend.stat('f'))?.version, at[turn])
          assert.equal(await contents('f'), 'ours')
          assert.equal((await backend.identify?.('f'))?.mark, mark)
          return { count }
        })
      })
    }

    it(`${name} does not take for its own what somebody stores after a lost answer`, async () => {
      const { version } = await stored('f', 'old')
      onRequest((what, index) => {
        if (/RENAME/.test(what)) {
          onRequest(async (next) => {
            if (/GETFILESTATUS/.test(next)) await other.create(`${root}/f`, 'theirs')
            return null
          })
          return 'lose-answer'
        }
        return index > MAX_REQUESTS ? { status: 500 } : null
      })
      const result = await outcomeOf(write('ours', version, { mark: newWriteMark() }))
      assert.ok(result instanceof StorageError)
      assert.equal(result.errno, 'ESTALE')
      assert.equal(await contents('f'), 'theirs')
      assert.equal((await backend.identify?.('f'))?.mark, null)
    })
  }

  it('an upload whose publishing is refused for a while is closed again, with all its data', async () => {
    const { version } = await stored('f', 'old')
    const writer = await backend.createWriter('f', version)
    await writer.write(Buffer.from('ours'))
    for (const fault of [{ status: 503 }, 'lose-answer'] as const) {
      // A lost answer, and nobody to ask afterwards.
      let isLost = false
      onRequest((what) => {
        if (fault === 'lose-answer' && isLost) return 'reset'
        if (!/RENAME/.test(what)) return null
        isLost = true
        return fault
      })
      const result = await outcomeOf(writer.close())
      assert.ok(result instanceof StorageError)
      assert.equal(result.outcome, fault === 'lose-answer' ? 'unknown' : 'refused')
      assert.equal(result.retryable, true)
    }
    onRequest(() => null)
    const stat = await writer.close()
    assert.deepEqual(stat, await backend.stat('f'))
    assert.deepEqual(await writer.close(), stat, 'closed again, it says the same')
    assert.equal(await contents('f'), 'ours')
    assert.deepEqual(await other.tree(`${root}/.ovfsd`), [])
  })

  it('an upload that may still come does not come over a later one', async () => {
    const { version } = await stored('f', 'old')
    // The server is away from the rename on, which may or may not be done.
    let isAway = false
    onRequest((what) => {
      isAway ||= /RENAME/.test(what)
      return isAway ? 'reset' : null
    })
    const first = await outcomeOf(backend.write('f', Buffer.from('first'), version))
    assert.ok(first instanceof StorageError)
    assert.equal(first.outcome, 'unknown')
    onRequest(() => null)
    await backend.write('f', Buffer.from('second'), version)
    assert.deepEqual(await other.tree(`${root}/.ovfsd`), [], 'the first one is gone')
    assert.equal(await contents('f'), 'second')
  })

  describe('append', () => {
    const theirs: Readonly<Record<string, (base: string) => Promise<string>>> = {
      appends: async (base) => {
        await other.append(`${root}/f`, ' theirs')
        return `${base} theirs`
      },
      'replaces the file': async () => {
        await other.create(`${root}/f`, 'another file')
        return 'another file'
      },
    }
    for (const [name, change] of Object.entries(theirs)) {
      it(`leaves nothing in a file that somebody else ${name} at any moment`, async () => {
        await forEachRequest(async (turn) => {
          const base = await stored('f', 'one')
          let now = 'one'
          const at: string[] = []
          const seen = onRequest(async (what, index) => {
            at.push(what)
            if (index === turn) now = await change((await contents('f')) ?? '')
            return null
          })
          const result = await outcomeOf(backend.append('f', Buffer.from(' ours'), base))
          const { count } = seen
          if (count <= turn) return { count }
          if (result instanceof StorageError) {
            assert.deepEqual([result.errno, result.outcome], ['ESTALE', 'refused'], at.join())
            assert.equal(await contents('f'), now, at.join())
            assert.ok(!now.includes('ours'), at.join())
          } else {
            // Ours was first.
            assert.equal(result.sizeBytes, 'one ours'.length)
            assert.notEqual(result.version, (await backend.stat('f'))?.version, at.join())
            assert.equal(await contents('f'), name === 'appends' ? 'one ours theirs' : now, at.join())
          }
          return { count }
        })
      })
    }

    for (const fault of ['lose-answer', 'reset', { status: 500 }, { status: 503 }] as const) {
      it(`is done once or refused without a trace (${JSON.stringify(fault)})`, async () => {
        await forEachRequest(async (turn) => {
          const base = await stored('f', 'one')
          const at: string[] = []
          const seen = onRequest((what, index) => {
            at.push(what)
            return index === turn ? fault : null
          })
          const result = await outcomeOf(backend.append('f', Buffer.from(' ours'), base))
          const { count } = seen
          onRequest(() => null)
          if (result instanceof StorageError) {
            assert.deepEqual(
              [result.outcome, result.retryable],
              ['refused', true],
              `${at.join()} ${result.message}`,
            )
            assert.equal(await contents('f'), 'one')
            await backend.append('f', Buffer.from(' ours'), base)
          } else assert.deepEqual(result, await backend.stat('f'))
          assert.equal(await contents('f'), 'one ours')
          return { count }
        })
      })
    }

    it('goes on from what a call without an answer has stored', async () => {
      const base = await stored('f', 'one')
      let isAway = false
      onRequest((what) => {
        if (isAway) return 'reset'
        isAway = what === 'POST op=APPEND' && dataNode.seen.some((request) => /APPEND/.test(request))
        return isAway ? 'lose-answer' : null
      })
      dataNode.seen.length = 0
      const first = await outcomeOf(backend.append('f', Buffer.from(' two'), base))
      assert.ok(first instanceof StorageError)
      assert.equal(first.outcome, 'unknown')
      onRequest(() => null)
      assert.equal(await contents('f'), 'one two')
      const last = await backend.append('f', Buffer.from(' two three'), base)
      assert.deepEqual(last, await backend.stat('f'))
      assert.equal(await contents('f'), 'one two three')
    })

    it('of other bytes takes back what a call without an answer has stored', async () => {
      const base = await stored('f', 'one')
      let isAway = false
      onRequest((what) => {
        if (isAway) return 'reset'
        isAway = what === 'POST op=APPEND' && dataNode.seen.some((request) => /APPEND/.test(request))
        return isAway ? 'lose-answer' : null
      })
      dataNode.seen.length = 0
      await outcomeOf(backend.append('f', Buffer.from(' two'), base))
      onRequest(() => null)
      await backend.append('f', Buffer.from(' 2'), base)
      assert.equal(await contents('f'), 'one 2')
    })
  })

  it('a time is set by this call only: what somebody else makes of the file is not adopted', async () => {
    await forEachRequest(async (turn) => {
      const base = await stored('f', 'one')
      const seen = onRequest(async (_what, index) => {
        if (index === turn) await other.append(`${root}/f`, ' theirs')
        return null
      })
      const { previousVersion, stat } = await backend.setModificationTime('f', { seconds: 5, nanoseconds: 0 })
      const { count } = seen
      if (count > turn && previousVersion === base.version)
        assert.notEqual(stat.version, (await backend.stat('f'))?.version)
      return { count }
    })
  })

  it('a rename whose answer is lost moves nothing else', async () => {
    await stored('f', 'ours')
    let isLost = false
    onRequest(async (what) => {
      if (isLost) await other.create(`${root}/f`, 'theirs')
      if (!/RENAME/.test(what)) return null
      isLost = true
      return 'lose-answer'
    })
    await backend.rename('f', 'g', 'file')
    assert.equal(await contents('g'), 'ours')
    assert.equal(await contents('f'), 'theirs')
  })

  it('a removal whose answer is lost takes nothing that was made since', async () => {
    await stored('f', 'ours')
    let isLost = false
    onRequest(async (what) => {
      if (isLost && (await contents('f')) === null) await other.create(`${root}/f`, 'theirs')
      if (!/DELETE/.test(what)) return null
      isLost = true
      return 'lose-answer'
    })
    await outcomeOf(backend.removeFile('f'))
    assert.equal(await contents('f'), 'theirs')
  })

  it('a listing that does not get on is an error, and no shorter listing', async () => {
    const entry = { pathSuffix: 'a', type: 'FILE', length: 1, modificationTime: 1, fileId: 7 }
    const pages = [[entry], [entry], [], [{ ...entry, length: undefined }]]
    for (const FileStatus of pages.slice(1)) {
      let page = 0
      onRequest((what) => {
        if (!/LISTSTATUS/.test(what)) return null
        const statuses = page++ === 0 ? pages[0] : FileStatus
        const listing = { partialListing: { FileStatuses: { FileStatus: statuses } }, remainingEntries: 5 }
        return { status: 200, body: JSON.stringify({ DirectoryListing: listing }) }
      })
      const result = await outcomeOf(backend.list(''))
      assert.ok(result instanceof StorageError)
      assert.equal(result.errno, 'EIO')
      assert.ok(page < MAX_REQUESTS)
    }
  })
})
