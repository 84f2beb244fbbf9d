import assert from 'node:assert/strict'
import { after, before, describe, it } from 'node:test'
import { randomBytes } from '../support/bytes.js'
import { WebHdfsClient } from './clients.js'
import { descendantsOf } from './descendants.js'
import { startFaultProxy } from './fault-proxy.js'
import { hdfsProblem, startHdfs, type Hdfs } from './hdfs.js'
import { ODD_NAMES } from './odd-names.js'
import { isRunning } from './process-id.js'

const BLOCK_SIZE_BYTES = 4096

describe('HDFS for tests', { skip: hdfsProblem() ?? false }, () => {
  let hdfs: Hdfs
  let client: WebHdfsClient
  before(async () => {
    hdfs = await startHdfs({ blockSizeBytes: BLOCK_SIZE_BYTES })
    client = new WebHdfsClient({ endpoint: hdfs.httpEndpoint, user: hdfs.user })
  })
  after(() => hdfs.stop())

  it('stores, lists and deletes files with odd names', async () => {
    // The NameNode composes letters and accents in the address that it sends clients to: other names cannot be reached.
    const names = ODD_NAMES.filter((name) => name === name.normalize('NFC')).sort()
    for (const name of names) await client.create(`/odd/${name}`, `data of ${name}`)
    assert.deepEqual(await client.tree('/odd'), names)
    for (const name of names) {
      assert.equal((await client.read(`/odd/${name}`))?.toString(), `data of ${name}`)
      assert.equal(await client.delete(`/odd/${name}`), true)
    }
    assert.deepEqual(await client.list('/odd'), [])
    assert.equal(await client.list('/none'), null)
  })

  it('appends, renames, truncates, and keeps times and rights', async () => {
    const data = randomBytes(3 * BLOCK_SIZE_BYTES)
    await client.create('/a', data)
    await client.append('/a', data)
    const whole = Buffer.concat([data, data])
    assert.deepEqual(await client.read('/a'), whole)
    assert.deepEqual(
      await client.read('/a', { offset: 4000, lengthBytes: 9000 }),
      whole.subarray(4000, 13_000),
    )
    assert.equal(await client.rename('/a', '/b'), true)
    assert.equal(await client.status('/a'), null)
    assert.equal(await client.truncate('/b', BLOCK_SIZE_BYTES), true)
    await client.setTimes('/b', 1_234_567_890_123)
    await client.setPermission('/b', '600')
    await client.setOwner('/b', 'guest', 'users')
    const { length, blockSize, modificationTime, permission, owner } = (await client.status('/b')) ?? {}
    assert.deepEqual(
      { length, blockSize, modificationTime, permission, owner },
      {
        ...{ length: BLOCK_SIZE_BYTES, blockSize: BLOCK_SIZE_BYTES, modificationTime: 1_234_567_890_123 },
        ...{ permission: '600', owner: 'guest' },
      },
    )
    const other = new WebHdfsClient({ endpoint: hdfs.httpEndpoint, user: 'other' })
    await assert.rejects(other.read('/b'), { status: 403 })
    assert.match(await client.delegationToken(), /^[\w-]+$/)
  })

  it('is reached by the hdfs command, and through proxies', async () => {
    await client.create('/shell/file', 'content')
    assert.deepEqual(await hdfs.fsShell('-cat', '/shell/file'), { code: 0, output: 'content' })
    assert.deepEqual(await hdfs.fsShell('-test', '-e', '/shell/none'), { code: 1, output: '' })
    const dataNode = await startFaultProxy(hdfs.dataNodeHttpEndpoint)
    const nameNode = await startFaultProxy(hdfs.httpEndpoint, {
      redirects: [{ from: hdfs.dataNodeHttpEndpoint, to: dataNode.endpoint }],
    })
    const proxied = new WebHdfsClient({ endpoint: nameNode.endpoint, user: hdfs.user })
    assert.equal((await proxied.read('/shell/file'))?.toString(), 'content')
    assert.deepEqual([nameNode.countRequests('GET'), dataNode.countRequests('GET')], [1, 1])
    await nameNode.stop()
    await dataNode.stop()
  })

  it('has every file after a crash', async () => {
    await client.create('/kept', 'still here')
    await hdfs.kill()
    await assert.rejects(client.read('/kept'), { code: 'ECONNREFUSED' })
    await hdfs.restart()
    assert.equal((await client.read('/kept'))?.toString(), 'still here')
  })

  it('leaves no process', async () => {
    const processes = descendantsOf(process.pid)
    assert.ok(processes.length >= 1, 'Java runs')
    await hdfs.stop()
    assert.deepEqual(processes.filter(isRunning), [])
  })
})
