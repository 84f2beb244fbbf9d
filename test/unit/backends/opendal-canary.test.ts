/**
 * Reasons for which requests to S3 are made past OpenDAL's binding, each held against the binding that is installed. A test that fails
 * here is good news: see docs/decisions/opendal-requests.md for the request that may go back to it.
 */
import assert from 'node:assert/strict'
import { afterEach, beforeEach, describe, it } from 'node:test'
import type { Operator } from 'opendal'
import { createOperator } from '../../../src/backends/opendal/operator.js'
import { errorAnswer, FakeS3, isCopy } from '../../support/fake-s3.js'

const TIMEOUT_MS = 10_000

describe('the binding of OpenDAL, still', () => {
  let s3: FakeS3
  let operator: Operator
  beforeEach(async () => {
    s3 = await FakeS3.start()
    operator = createOperator({ scheme: 's3', options: s3.options, timeoutMs: TIMEOUT_MS })
  })
  afterEach(() => s3.stop())

  it('HEAD: takes a size that is not told for 0', async () => {
    s3.put('file', 'contents')
    s3.before = ({ method }) => (method === 'HEAD' ? { status: 200, headers: { etag: '"x"' } } : null)
    assert.equal(Number((await operator.stat('/file')).contentLength ?? 0n), 0)
  })

  it('HEAD: trims names', async () => {
    await operator.stat('/file ').catch(() => undefined)
    assert.deepEqual(s3.seen, ['HEAD file'])
  })

  it('GET: does not compare the range of an answer', async () => {
    s3.put('file', '0123456789')
    s3.before = ({ method }) =>
      method === 'GET'
        ? { status: 206, headers: { 'content-length': 2, 'content-range': 'bytes 0-1/10' }, body: '01' }
        : null
    assert.equal((await operator.read('/file', { offset: 4n, size: 2n })).toString(), '01')
  })

  it('CopyObject: takes an error behind a status of 200 for done', async () => {
    s3.put('file', 'contents')
    s3.before = (call) => (isCopy(call) ? errorAnswer(200, 'InternalError') : null)
    await operator.copy('/file', '/copy')
    assert.equal(s3.text('copy'), null)
  })

  it('CopyObject: has no conditions', async () => {
    s3.put('file', 'contents')
    s3.put('copy', 'theirs')
    const copy = operator.copy.bind(operator) as (...args: unknown[]) => Promise<void>
    await copy('/file', '/copy', { ifNotExists: true, ifMatch: '"other"' })
    assert.equal(s3.text('copy'), 'contents')
  })

  it('uploads in parts: cannot be aborted', async () => {
    const writer = await operator.writer('/file')
    assert.equal('abort' in writer, false)
  })

  it('ListObjects: does not show names as they are', async () => {
    for (const key of ['d//x', 'd/../y', 'd/z']) s3.put(key, '')
    const shown = (await operator.list('/d/')).map((entry) => entry.path())
    assert.notDeepEqual(shown.sort(), ['d/', 'd//', 'd/../', 'd/z'].sort())
  })
})
