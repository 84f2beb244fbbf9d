/** A process of the host that swaps a directory for a link at any moment leads no call out of the root. */
import assert from 'node:assert/strict'
import {
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, before, describe, it } from 'node:test'
import { Worker } from 'node:worker_threads'
import type { Backend } from '../../../src/backends/backend.js'
import { createBackend } from '../../../src/backends/create-backend.js'
import { StorageError } from '../../../src/backends/storage-error.js'

const ROUNDS = 2000
const SECRET = 'the secret of the host'
const HARMLESS = 'a harmless text in here'.slice(0, SECRET.length)

/** `d` is the directory and the link out of the root, in turns, until it is terminated. */
const SWAPPER = `
const { renameSync } = require('node:fs')
const { workerData: root } = require('node:worker_threads')
for (;;) {
  renameSync(root + '/d', root + '/kept')
  renameSync(root + '/link', root + '/d')
  renameSync(root + '/d', root + '/link')
  renameSync(root + '/kept', root + '/d')
}`

describe('a host directory whose directories are swapped for links out of it', () => {
  let base = ''
  let backend: Backend
  let swapper: Worker
  before(async () => {
    base = mkdtempSync(join(tmpdir(), 'ovfsd-local-confinement-'))
    mkdirSync(join(base, 'root/d'), { recursive: true })
    mkdirSync(join(base, 'outside'))
    writeFileSync(join(base, 'outside/file'), SECRET)
    writeFileSync(join(base, 'root/d/file'), HARMLESS)
    symlinkSync(join(base, 'outside'), join(base, 'root/link'))
    backend = createBackend({ type: 'fs', options: { root: join(base, 'root') }, timeoutMs: 30_000 })
    swapper = new Worker(SWAPPER, { eval: true, workerData: join(base, 'root') })
    await new Promise((resolve) => swapper.once('online', resolve))
  })
  after(async () => {
    await swapper.terminate()
    rmSync(base, { recursive: true, force: true })
  })

  /** The call's answer; null where it was refused. */
  async function attempt<T>(call: () => Promise<T>): Promise<T | null> {
    try {
      return await call()
    } catch (error) {
      assert.ok(error instanceof StorageError, String(error))
      return null
    }
  }

  it('reads, changes and makes nothing outside', async () => {
    let read = 0
    for (let round = 0; round < ROUNDS; round++) {
      const stat = await attempt(() => backend.stat('d/file'))
      if (stat === null) continue
      const { version, sizeBytes } = stat
      const data = await attempt(() => backend.read('d/file', 0, sizeBytes, version))
      if (data !== null) assert.ok(!Buffer.from(data).includes('secret'))
      read += data === null ? 0 : 1
      await attempt(() => backend.append('d/file', Buffer.from('!'), { version, sizeBytes }))
      await attempt(() => backend.write('d/file', Buffer.from(HARMLESS), version))
      await attempt(() => backend.write(`d/new-${round}`, Buffer.from('x'), null))
      await attempt(() => backend.setModificationTime('d/file', { seconds: round, nanoseconds: 0 }))
      await attempt(() => backend.copy('d/file', `d/copy-${round}`, null))
      await attempt(() => backend.removeFile(`d/new-${round}`))
    }
    assert.ok(read > 0, 'nothing was read')
    assert.deepEqual(readdirSync(join(base, 'outside')), ['file'])
    assert.equal(readFileSync(join(base, 'outside/file'), 'utf8'), SECRET)
  })
})
