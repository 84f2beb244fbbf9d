/** A directory of the host stays one: with a kernel that follows links below a directory only, and with one that does not know how. */
import assert from 'node:assert/strict'
import { existsSync, mkdirSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, before, describe, it } from 'node:test'
import { HostDirectory } from '../../../src/backends/local/host-directory.js'
import { fileOf, HostFiles } from '../../../src/backends/local/host-files.js'
import { HostRoot } from '../../../src/backends/local/host-root.js'

const refused = (error: unknown): boolean => (error as { errno?: unknown }).errno === 'EACCES'

for (const isOldKernel of [false, true]) {
  describe(`a directory of the host${isOldKernel ? ' without openat2' : ''}`, () => {
    let base = ''
    let directory: HostDirectory
    let files: HostFiles
    const upload = { upload: '.ovfsd/upload', mtime: undefined, syncsDirectory: true }
    before(() => {
      base = mkdtempSync(join(tmpdir(), 'ovfsd-host-directory-'))
      mkdirSync(join(base, 'root/inside'), { recursive: true })
      mkdirSync(join(base, 'outside'))
      writeFileSync(join(base, 'root/inside/file'), 'inside')
      writeFileSync(join(base, 'outside/secret'), 'outside')
      symlinkSync(join(base, 'root/inside'), join(base, 'root/absolute'))
      symlinkSync('inside', join(base, 'root/relative'))
      symlinkSync('../outside', join(base, 'root/out'))
      symlinkSync(join(base, 'outside/secret'), join(base, 'root/secret'))
      symlinkSync('missing', join(base, 'root/dangling'))
      const root = new HostRoot(join(base, 'root'))
      if (isOldKernel) Object.assign(root, { beneath: false })
      directory = new HostDirectory(root)
      files = new HostFiles(root)
    })
    after(() => {
      rmSync(base, { recursive: true, force: true })
    })

    it('is looked at through links that stay below it', async () => {
      for (const link of ['absolute', 'relative']) {
        assert.equal((await directory.stat(link))?.kind, 'directory')
        assert.equal((await directory.stat(`${link}/file`))?.sizeBytes, 'inside'.length)
        assert.deepEqual(
          (await directory.list(link)).map(({ name }) => name),
          ['file'],
        )
        assert.equal(await directory.stat(`${link}/missing`), null)
      }
      assert.equal(await directory.stat('dangling'), null)
      assert.deepEqual(await directory.list('missing'), [])
    })

    it('lets no call out', async () => {
      for (const path of ['out', 'secret', 'out/secret', 'out/missing']) {
        await assert.rejects(directory.stat(path), refused, path)
      }
      await assert.rejects(directory.list('out'), refused)
      await assert.rejects(directory.removeFile('out/secret'), refused)
      await assert.rejects(directory.makeDirectory('out/made'), refused)
      await assert.rejects(directory.rename('inside/file', 'out/file'), refused)
      await assert.rejects(
        files.store({ ...upload, path: 'out/secret', expected: undefined }, Buffer.from('x')),
        refused,
      )
      assert.ok(existsSync(join(base, 'outside/secret')))
      assert.ok(!existsSync(join(base, 'root/.ovfsd/upload')))
    })

    it('tells names alone, up to a limit', async () => {
      const entries = await directory.listNames('inside', 1)
      assert.deepEqual(entries, [{ name: 'file', kind: 'file', stat: null }])
      assert.equal(await directory.listNames('', 2), null)
    })

    it('is changed through links that stay below it', async () => {
      await directory.makeDirectory('absolute/made')
      const target = { ...upload, path: 'absolute/made/file', expected: null }
      const stored = await files.store(target, Buffer.from('stored'))
      assert.deepEqual(await directory.stat('inside/made/file'), fileOf(stored))
      await directory.rename('relative/made/file', 'absolute/moved')
      await directory.removeDirectory('inside/made')
      await directory.removeFile('absolute/moved')
      assert.deepEqual(
        (await directory.list('inside')).map(({ name }) => name),
        ['file'],
      )
    })
  })
}
