/** The store in memory knows what it holds, and does not ask the binding for what it does not. */
import assert from 'node:assert/strict'
import { beforeEach, describe, it } from 'node:test'
import type { Backend } from '../../../src/backends/backend.js'
import { createBackend } from '../../../src/backends/create-backend.js'
import { MemoryBackend } from '../../../src/backends/local/memory-backend.js'
import { createOperator } from '../../../src/backends/opendal/operator.js'

const TIMEOUT_MS = 30_000
describe('the store in memory', () => {
  let backend: Backend
  beforeEach(() => {
    backend = createBackend({ type: 'memory', options: {}, timeoutMs: TIMEOUT_MS })
  })

  it('asks the binding for nothing that is not there', async () => {
    const operator = createOperator({ scheme: 'memory', options: {}, timeoutMs: TIMEOUT_MS })
    const asked: string[] = []
    const stat = operator.stat.bind(operator)
    Object.assign(operator, {
      stat: (path: string) => {
        asked.push(path)
        return stat(path)
      },
    })
    const memory = new MemoryBackend(operator)
    await memory.createDirectory('a')
    await memory.write('a/file', Buffer.from('x'))
    for (const path of ['b', 'a/b', 'a/file/b', 'file']) assert.equal(await memory.stat(path), null)
    assert.deepEqual(asked, [])
    await memory.stat('a')
    await memory.stat('a/file')
    assert.deepEqual(asked, ['/a/', '/a/file'])
  })

  it('knows what is there after it was made, moved and removed', async () => {
    const kind = async (path: string): Promise<string | undefined> => (await backend.stat(path))?.kind
    await backend.createDirectory('a')
    await backend.write('a/file', Buffer.from('x'), null)
    await backend.write('.ovfsd/hidden', Buffer.from('y'), null)
    assert.deepEqual(await Promise.all(['', 'a', 'a/file', '.ovfsd', '.ovfsd/hidden', 'a/f'].map(kind)), [
      'directory',
      'directory',
      'file',
      'directory',
      'file',
      undefined,
    ])
    await backend.rename('a', 'b', 'directory')
    assert.deepEqual(await Promise.all(['a', 'a/file', 'b', 'b/file'].map(kind)), [
      undefined,
      undefined,
      'directory',
      'file',
    ])
    await backend.rename('b/file', 'b/moved', 'file')
    await backend.removeFile('.ovfsd/hidden')
    assert.deepEqual(await Promise.all(['b/file', 'b/moved', '.ovfsd'].map(kind)), [
      undefined,
      'file',
      undefined,
    ])
    await backend.removeFile('b/moved')
    assert.equal(await kind('b'), 'directory')
    await backend.removeDirectory('b')
    assert.equal(await kind('b'), undefined)
    const writer = await backend.createWriter('b', null)
    await writer.write(Buffer.from('z'))
    assert.equal(await kind('b'), undefined)
    await writer.close()
    assert.equal(await kind('b'), 'file')
  })
})
