/** What the HDFS backend makes of servers that are slow, busy, cut off in the middle, or not HDFS at all. */
import assert from 'node:assert/strict'
import { randomUUID } from 'node:crypto'
import { after, before, beforeEach, describe, it } from 'node:test'
import type { Backend } from '../../../src/backends/backend.js'
import { createBackend } from '../../../src/backends/create-backend.js'
import { StorageError } from '../../../src/backends/storage-error.js'
import { targetOf } from '../../../src/backends/hdfs/name-nodes.js'
import { webhdfsOptions } from '../../../src/backends/hdfs/webhdfs-options.js'
import { WebHdfsClient } from '../clients.js'
import { startFaultProxy, type FaultProxy } from '../fault-proxy.js'
import { hdfsProblem, startHdfs, type Hdfs } from '../hdfs.js'
import { waitUntil } from '../wait.js'
import { assertSameBytes, randomBytes } from '../../support/bytes.js'
import { eventually } from '../../support/served.js'

const MIB = 1 << 20
const TIMEOUT_MS = 20_000
/** For a server that never answers. */
const SHORT_TIMEOUT_MS = 300

const problem = hdfsProblem()

function isErrno(errno: string, retryable: boolean): (error: unknown) => boolean {
  return (error) => {
    assert.ok(error instanceof StorageError, String(error))
    assert.equal(error.errno, errno, error.message)
    assert.equal(error.retryable, retryable, error.message)
    return true
  }
}

describe('options of HDFS', () => {
  it('derive the address of WebHDFS', () => {
    const { endpoints, root } = webhdfsOptions({ name_node: 'hdfs://127.0.0.1:9000' })
    assert.deepEqual(endpoints, ['http://127.0.0.1:9870'])
    assert.equal(root, '')
    assert.deepEqual(webhdfsOptions({ name_node: 'hdfs://nn' }).endpoints, ['http://nn:9870'])
    assert.deepEqual(webhdfsOptions({ name_node: 'hdfs://[::1]:9000' }).endpoints, ['http://[::1]:9870'])
  })

  it('let an endpoint come first', () => {
    const given = { name_node: 'hdfs://nn:9000', endpoint: 'https://a:9871/gateway/, b:9870' }
    assert.deepEqual(webhdfsOptions(given).endpoints, ['https://a:9871/gateway', 'http://b:9870'])
  })

  it('tidy the root', () => {
    assert.equal(webhdfsOptions({ endpoint: 'nn', root: '//a/b c//' }).root, '/a/b c')
  })

  it('are refused with EINVAL when wrong', () => {
    for (const wrong of [
      ...[
        {},
        { name_node: 'nn:9000' },
        { name_node: 'http://nn:9000' },
        { endpoint: 'ftp://nn' },
        { endpoint: '' },
      ],
      ...[
        { endpoint: 'nn', root: '/a/../b' },
        { endpoint: 'nn', root: '/a:b' },
      ],
    ]) {
      assert.throws(() => webhdfsOptions(wrong), isErrno('EINVAL', false), JSON.stringify(wrong))
    }
  })
})

describe('redirections', () => {
  it('keep the form of the name', () => {
    const nfd = '/d d/e\u0301'
    const sent = '/webhdfs/v1/d%20d/%C3%A9?op=OPEN&offset=0'
    assert.equal(targetOf(sent, nfd), '/webhdfs/v1/d%20d/e%CC%81?op=OPEN&offset=0')
    assert.equal(targetOf(sent, '/d d/é'), sent)
    // Not the path at all: a gateway's own way.
    assert.equal(targetOf('/gateway/data?_=abc', nfd), '/gateway/data?_=abc')
  })
})

describe(
  'HDFS behind a bad network',
  { skip: problem === null ? false : `NO HDFS TESTS: ${problem}` },
  () => {
    let hdfs: Hdfs
    let other: WebHdfsClient
    let toDataNode: FaultProxy
    let toNameNode: FaultProxy
    let root: string

    before(async () => {
      hdfs = await startHdfs({ blockSizeBytes: MIB })
      other = new WebHdfsClient({ endpoint: hdfs.httpEndpoint, user: hdfs.user })
      toDataNode = await startFaultProxy(hdfs.dataNodeHttpEndpoint)
      toNameNode = await startFaultProxy(hdfs.httpEndpoint, {
        redirects: [{ from: hdfs.dataNodeHttpEndpoint, to: toDataNode.endpoint }],
      })
    })
    after(async () => {
      await toNameNode.stop()
      await toDataNode.stop()
      await hdfs.stop()
    })
    beforeEach(async () => {
      await toNameNode.heal()
      await toDataNode.heal()
      root = `/mount-${randomUUID()}`
      await other.mkdirs(root)
    })

    /** With connections of its own. */
    function connect(timeoutMs = TIMEOUT_MS): Backend {
      const options = { endpoint: toNameNode.endpoint, user: hdfs.user, root }
      return createBackend({ type: 'hdfs', options, timeoutMs })
    }

    it('tries again while the NameNode is busy', async () => {
      await other.create(`${root}/f`, 'x')
      const rule = toNameNode.answer({ status: 503, times: 2 })
      assert.equal((await connect().stat('f'))?.sizeBytes, 1)
      assert.equal(rule.answered, 2)
      toNameNode.answer({ status: 500, times: 3 })
      await assert.rejects(connect().stat('f'), isErrno('EIO', true))
    })

    it('removes an upload that failed as soon as HDFS lets it', async () => {
      const backend = connect()
      toNameNode.answer({ status: 403, method: 'PUT', path: /op=RENAME/, times: 1 })
      toNameNode.answer({ status: 503, method: 'DELETE', times: 1 })
      await assert.rejects(backend.write('f', randomBytes(10), null), isErrno('EACCES', true))
      assert.equal((await other.tree(`${root}/.ovfsd`)).length, 1)
      await backend.write('f', randomBytes(10), null)
      await waitUntil(
        'nothing is left',
        TIMEOUT_MS,
        async () => (await other.tree(`${root}/.ovfsd`)).length === 0,
      )
      assert.deepEqual(await other.tree(root), ['.ovfsd/', 'f'])
    })

    it('takes only the words of HDFS for a missing file', async () => {
      toNameNode.answer({ status: 404, times: 1 })
      await assert.rejects(connect().stat('f'), isErrno('EIO', true))
      assert.equal(await connect().stat('f'), null)
    })

    it('gives up within its timeouts', async () => {
      toNameNode.setFault({ kind: 'stall' })
      const backend = connect(SHORT_TIMEOUT_MS)
      await assert.rejects(backend.stat('f'), isErrno('ETIMEDOUT', true))
      await assert.rejects(backend.write('f', Buffer.from('x'), null), isErrno('ETIMEDOUT', true))
      await toNameNode.heal()
      await backend.write('f', Buffer.from('x'), null)
    })

    it('gives up an upload that the DataNode does not take', async () => {
      toDataNode.setFault({ kind: 'stall' })
      const backend = connect(SHORT_TIMEOUT_MS)
      const writer = await backend.createWriter('f', null)
      await assert.rejects(
        async () => {
          await writer.write(randomBytes(MIB))
          await writer.close()
        },
        isErrno('ETIMEDOUT', true),
      )
      await writer.abort()
      assert.equal(await backend.stat('f'), null)
    })

    it('knows a rename by its result when the answer is lost', async () => {
      await other.create(`${root}/f`, 'x')
      await other.create(`${root}/g`, 'old')
      // How long the answer is that comes first on the connection.
      toNameNode.resetCounters()
      await connect().stat('f')
      const afterBytes = toNameNode.counters.bytesToClient + 1
      toNameNode.setFault({ kind: 'reset', afterBytes, on: { first: 1, last: 1 } })
      toNameNode.resetCounters()
      await connect().rename('f', 'g', 'file')
      assert.equal(toNameNode.countRequests('PUT', /op=RENAME/), 1, 'the rename was not sent again')
      assert.equal((await other.read(`${root}/g`))?.toString(), 'x')
      assert.equal(await other.status(`${root}/f`), null)
    })

    it('knows that a file is gone when the answer is lost', async () => {
      await other.create(`${root}/f`, 'x')
      toNameNode.setFault({ kind: 'reset', afterBytes: 1, on: { first: 1, last: 1 } })
      toNameNode.resetCounters()
      await connect().removeFile('f')
      assert.equal(toNameNode.countRequests('DELETE'), 1)
      await assert.rejects(connect().removeFile('f'), isErrno('ENOENT', false))
    })

    it('uploads again, under another name, when the connection breaks', async () => {
      const data = randomBytes(4 * MIB)
      toDataNode.setFault({ kind: 'reset-upload', afterBytes: MIB, on: { first: 1, last: 1 } })
      toDataNode.resetCounters()
      const { version } = await connect().write('f', data, null)
      assert.equal(toDataNode.countRequests('PUT'), 3, 'the upload, a byte to ask why, and the upload')
      assertSameBytes(await connect().read('f', 0, data.length, version), data)
    })

    it('never sends a stream twice', async () => {
      const backend = connect()
      toDataNode.setFault({ kind: 'reset-upload', afterBytes: MIB, on: { first: 1, last: 1 } })
      toDataNode.resetCounters()
      const writer = await backend.createWriter('f', null)
      await assert.rejects(
        async () => {
          for (let part = 0; part < 32; part++) await writer.write(randomBytes(MIB))
          await writer.close()
        },
        isErrno('EIO', true),
      )
      await writer.abort()
      assert.equal(toDataNode.countRequests('PUT'), 2, 'the stream, and a byte to ask why')
      assert.ok(toDataNode.counters.bytesToServer < 4 * MIB)
      assert.equal(await backend.stat('f'), null)
    })

    it('never appends twice', async () => {
      await other.create(`${root}/f`, 'one ')
      const backend = connect()
      const base = await backend.stat('f')
      assert.ok(base !== null)
      toDataNode.setFault({ kind: 'reset', afterBytes: 1, on: { first: 1, last: 1 } })
      toDataNode.resetCounters()
      // The connection may break before the DataNode has begun, and HDFS takes the append after that, or not.
      const first = await backend.append('f', Buffer.from('two'), base).catch((error: unknown) => error)
      assert.equal(toDataNode.countRequests('POST'), 1)
      if (first instanceof Error) {
        isErrno('EIO', true)(first)
        // A DataNode that begins late has the file open meanwhile, and every try is refused.
        await eventually('HDFS takes it', () =>
          backend.append('f', Buffer.from('two'), base).then(
            () => true,
            (error: unknown) => !isErrno('EIO', true)(error),
          ),
        )
      } else assert.deepEqual(first, await backend.stat('f'))
      assert.equal((await other.read(`${root}/f`))?.toString(), 'one two')
    })

    for (const kind of ['reset', 'cut'] as const) {
      it(`reads again when an answer breaks off (${kind})`, async () => {
        const data = randomBytes(2 * MIB)
        const backend = connect()
        const { version } = await backend.write('f', data, null)
        toDataNode.setFault({ kind, afterBytes: MIB, on: { first: 1, last: 1 } })
        assertSameBytes(await backend.read('f', 0, data.length, version), data)
      })
    }

    it('keeps tokens out of its messages', async () => {
      await toNameNode.refuse()
      const options = { endpoint: toNameNode.endpoint, delegation: 'SECRETTOKEN', root }
      const backend = createBackend({ type: 'hdfs', options, timeoutMs: TIMEOUT_MS })
      await assert.rejects(backend.stat('f'), (error: Error) => !error.message.includes('SECRETTOKEN'))
    })
  },
)
