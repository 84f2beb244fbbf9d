/** What a host's file is beside its contents stays what it is, whatever way its contents are changed. */
import assert from 'node:assert/strict'
import { execFileSync } from 'node:child_process'
import {
  chmodSync,
  chownSync,
  linkSync,
  lstatSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, describe, it } from 'node:test'
import type { Backend, ObjectStat } from '../../../src/backends/backend.js'
import { createBackend } from '../../../src/backends/create-backend.js'

const TIMEOUT_MS = 30_000
const IS_ROOT = process.getuid?.() === 0
const OWNER = 1234
const GROUP = 2345

/** python's os.setxattr and getxattr: the tools for it are not everywhere. */
function python(program: string, ...args: string[]): string | null {
  try {
    return execFileSync('python3', ['-c', `import os,sys\n${program}`, ...args], {
      encoding: 'utf8',
      stdio: 'pipe',
    })
  } catch {
    return null
  }
}

const setAttribute = (path: string, name: string, hex: string): boolean =>
  python('os.setxattr(sys.argv[1],sys.argv[2],bytes.fromhex(sys.argv[3]))', path, name, hex) !== null
const attributesOf = (path: string): string | null =>
  python('print({n: os.getxattr(sys.argv[1],n).hex() for n in sorted(os.listxattr(sys.argv[1]))})', path)

/** user::rw-, user:1234:rw-, group::r--, mask::rw-, other::---, as the kernel has it. */
const ACCESS_LIST = '0200000001000600ffffffff02000600d204000004000400ffffffff10000600ffffffff20000000ffffffff'

type Change = (backend: Backend, path: string, stat: ObjectStat, text: string) => Promise<ObjectStat>

const CHANGES: Readonly<Record<string, Change>> = {
  write: (backend, path, { version }, text) => backend.write(path, Buffer.from(text), version),
  upload: async (backend, path, { version }, text) => {
    const writer = await backend.createWriter(path, version)
    await writer.write(Buffer.from(text.slice(0, 2)))
    await writer.write(Buffer.from(text.slice(2)))
    return writer.close()
  },
  copy: async (backend, path, { version }, text) => {
    await backend.write('source', Buffer.from(text), undefined)
    return backend.copy('source', path, version)
  },
}

for (const [name, change] of Object.entries(CHANGES)) {
  describe(`a file of the host that is changed by ${name}`, () => {
    let root = ''
    let backend: Backend
    const at = (path: string): string => join(root, path)
    const run = async (path: string, text: string): Promise<void> => {
      const before = await backend.stat(path)
      assert.ok(before !== null)
      const stored = await change(backend, path, before, text)
      assert.deepEqual(await backend.stat(path), stored)
      assert.equal(readFileSync(at(path), 'utf8'), text)
      assert.deepEqual(readdirSync(at('.ovfsd')), [])
    }

    beforeEach(() => {
      root = mkdtempSync(join(tmpdir(), 'ovfsd-local-attributes-'))
      backend = createBackend({ type: 'fs', options: { root }, timeoutMs: TIMEOUT_MS })
    })
    afterEach(() => {
      rmSync(root, { recursive: true, force: true })
    })

    for (const mode of [0o600, 0o755, 0o444, 0o2644, 0o1640]) {
      it(`keeps the mode ${mode.toString(8)}, and its owner`, async (t) => {
        if (!IS_ROOT && (mode & 0o200) === 0) {
          t.skip('only root can open it')
          return
        }
        writeFileSync(at('file'), 'before')
        if (IS_ROOT) chownSync(at('file'), OWNER, GROUP)
        chmodSync(at('file'), mode)
        const before = statSync(at('file'))
        await run('file', 'changed')
        const after = statSync(at('file'))
        assert.deepEqual([after.mode, after.uid, after.gid], [before.mode, before.uid, before.gid])
      })
    }

    it('loses the set-id bits with which it would run something else', async () => {
      writeFileSync(at('file'), 'before')
      chmodSync(at('file'), 0o6755)
      await run('file', 'changed')
      assert.equal(statSync(at('file')).mode & 0o7777, 0o755)
    })

    it('keeps extended attributes', async (t) => {
      writeFileSync(at('file'), 'before')
      if (!setAttribute(at('file'), 'user.comment', '00ff')) {
        t.skip('there are none here')
        return
      }
      setAttribute(at('file'), 'user.empty', '')
      const before = attributesOf(at('file'))
      await run('file', 'changed')
      assert.equal(attributesOf(at('file')), before)
    })

    it('keeps its access control list', async (t) => {
      writeFileSync(at('file'), 'before')
      chmodSync(at('file'), 0o640)
      if (!setAttribute(at('file'), 'system.posix_acl_access', ACCESS_LIST)) {
        t.skip('there are none here')
        return
      }
      const [before, mode] = [attributesOf(at('file')), statSync(at('file')).mode]
      await run('file', 'changed')
      assert.equal(attributesOf(at('file')), before)
      assert.equal(statSync(at('file')).mode, mode)
    })

    it('keeps all its names', async () => {
      writeFileSync(at('one'), 'before, and longer')
      linkSync(at('one'), at('two'))
      chmodSync(at('one'), 0o640)
      const { ino } = statSync(at('one'))
      await run('one', 'changed')
      await run('two', 'changed again, by the other name')
      for (const path of ['one', 'two']) {
        assert.equal(statSync(at(path)).ino, ino)
        assert.equal(readFileSync(at(path), 'utf8'), 'changed again, by the other name')
      }
      assert.equal(statSync(at('one')).mode & 0o7777, 0o640)
    })

    it('stays where a link leads', async () => {
      mkdirSync(at('below'))
      writeFileSync(at('below/file'), 'before')
      chmodSync(at('below/file'), 0o600)
      symlinkSync('below/file', at('relative'))
      symlinkSync(at('relative'), at('absolute'))
      symlinkSync('below', at('directory'))
      for (const path of ['relative', 'absolute', 'directory/file']) {
        await run(path, `changed by ${path}`)
        assert.equal(readFileSync(at('below/file'), 'utf8'), `changed by ${path}`)
      }
      assert.ok(lstatSync(at('relative')).isSymbolicLink() && lstatSync(at('absolute')).isSymbolicLink())
      assert.equal(statSync(at('below/file')).mode & 0o7777, 0o600)
    })

    it('is for nobody else before it is in its place', async () => {
      writeFileSync(at('file'), 'before')
      chmodSync(at('file'), 0o600)
      const stat = await backend.stat('file')
      const writer = await backend.createWriter('file', stat?.version)
      const [upload = ''] = readdirSync(at('.ovfsd'))
      assert.equal(statSync(at(`.ovfsd/${upload}`)).mode & 0o7777, 0o600)
      await writer.abort()
      assert.deepEqual(readdirSync(at('.ovfsd')), [])
    })
  })
}

describe('a new file of the host', () => {
  let root = ''
  let backend: Backend
  const at = (path: string): string => join(root, path)
  beforeEach(() => {
    root = mkdtempSync(join(tmpdir(), 'ovfsd-local-new-'))
    backend = createBackend({ type: 'fs', options: { root }, timeoutMs: TIMEOUT_MS })
    mkdirSync(at('shared'))
  })
  afterEach(() => {
    rmSync(root, { recursive: true, force: true })
  })

  it('has the group of a directory that gives its own', { skip: !IS_ROOT }, async () => {
    chownSync(at('shared'), OWNER, GROUP)
    chmodSync(at('shared'), 0o2775)
    await backend.write('shared/file', Buffer.from('x'), null)
    assert.equal(statSync(at('shared/file')).gid, GROUP)
  })

  it("has the list that its directory's default makes for it", async (t) => {
    if (!setAttribute(at('shared'), 'system.posix_acl_default', ACCESS_LIST)) {
      t.skip('there are none here')
      return
    }
    writeFileSync(at('shared/theirs'), 'x')
    await backend.write('shared/ours', Buffer.from('x'), null)
    assert.equal(attributesOf(at('shared/ours')), attributesOf(at('shared/theirs')))
    assert.equal(statSync(at('shared/ours')).mode, statSync(at('shared/theirs')).mode)
  })
})
