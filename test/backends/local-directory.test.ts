/** What a host directory's backend does to the host's files. */
import assert from 'node:assert/strict'
import { chmodSync, mkdtempSync, readFileSync, rmSync, statSync, symlinkSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, describe, it } from 'node:test'
import type { Backend } from '../../src/backends/backend.js'
import { createBackend } from '../../src/backends/create-backend.js'

const TIMEOUT_MS = 30_000

describe('a host directory', () => {
  let root = ''
  let backend: Backend
  const at = (path: string): string => join(root, path)

  beforeEach(() => {
    root = mkdtempSync(join(tmpdir(), 'ovfsd-local-directory-'))
    backend = createBackend({ type: 'fs', options: { root }, timeoutMs: TIMEOUT_MS })
  })
  afterEach(() => {
    rmSync(root, { recursive: true, force: true })
  })

  describe('keeps a file aside', () => {
    it('as the same file of the same version, with what is at its path', async () => {
      writeFileSync(at('file'), 'contents')
      chmodSync(at('file'), 0o640)
      const before = await backend.stat('file')
      const kept = await backend.keepAside?.('file', '.ovfsd/kept')
      assert.equal(kept?.version, before?.version)
      assert.equal(statSync(at('.ovfsd/kept')).ino, statSync(at('file')).ino)
      writeFileSync(at('new'), 'other')
      await backend.rename('new', 'file', 'file')
      assert.equal(readFileSync(at('.ovfsd/kept'), 'utf8'), 'contents')
      assert.equal(readFileSync(at('file'), 'utf8'), 'other')
    })

    it('that a link leads to', async () => {
      writeFileSync(at('file'), 'contents')
      symlinkSync('file', at('link'))
      await backend.keepAside?.('link', '.ovfsd/kept')
      assert.equal(statSync(at('.ovfsd/kept')).ino, statSync(at('file')).ino)
    })

    it('never over something, nor what is missing', async () => {
      writeFileSync(at('file'), 'contents')
      writeFileSync(at('taken'), 'other')
      await assert.rejects(async () => backend.keepAside?.('file', 'taken'), { errno: 'EEXIST' })
      await assert.rejects(async () => backend.keepAside?.('missing', '.ovfsd/kept'), { errno: 'ENOENT' })
      assert.equal(readFileSync(at('taken'), 'utf8'), 'other')
    })
  })
})
