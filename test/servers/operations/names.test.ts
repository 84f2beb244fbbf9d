/** Names that a store must hold exactly, and names that never reach it. */
import assert from 'node:assert/strict'
import { it } from 'node:test'
import { O_CREAT, O_RDWR, S_IFREG, StructBytes, Opcode } from '../../frontend/abi.js'
import { codeOf, type FuseClient, type Name } from '../../frontend/fuse-client.js'
import { describeStores } from '../../support/served.js'
import { STORES_AND_WEBDAV } from '../../support/stores.js'

const GOOD_NAMES = [
  'a'.repeat(255),
  'ä'.repeat(127),
  '日本語のファイル名.txt',
  '😀 emoji',
  'with spaces in it',
  ' leading space',
  '\tleading tab',
  'dot.',
  '...',
  '.hidden',
  '-rf',
  '~',
  '*?[]{}',
  '"quoted\'',
  '%2e%2e%2f',
  '%',
  '#fragment?query=1&b',
  '$HOME `id` |;<>',
  'e\u0301',
  '\u00e9',
  '\ufeffbom',
  'new\nline',
  'carriage\rreturn',
  '\u0001control\u007f',
  'UPPER',
  'upper',
]
/** Names that some store cannot hold, or would hold by another name. */
const DELICATE_NAMES = [
  'trailing space ',
  'trailing tab\t',
  'trailing newline\n',
  ' ',
  'trailing no-break space\u00a0',
  'a:b',
  'C:',
  '.snapshot',
  '.reserved',
]
const LONG_NAMES = ['a'.repeat(256), 'ä'.repeat(128), 'b'.repeat(600), 'c'.repeat(4000), 'd'.repeat(70_000)]
const BAD_NAMES: readonly Name[] = [
  '',
  '.',
  '..',
  'a/b',
  '/',
  '/etc/passwd',
  '../escape',
  'a/../../b',
  Buffer.from([0xff]),
  Buffer.from([0xc3]),
  Buffer.from([0x61, 0xed, 0xa0, 0x80]),
  Buffer.from([0xc0, 0xaf]),
  Buffer.from([0xc0, 0x80]),
]

/** Every operation that takes a name, with this one. */
async function codesOf(client: FuseClient, parent: number, name: Name): Promise<Record<string, string>> {
  return {
    lookup: await codeOf(client.lookup(parent, name)),
    create: await codeOf(client.create(parent, name, O_RDWR | O_CREAT)),
    mknod: await codeOf(client.mknod(parent, name, S_IFREG)),
    mkdir: await codeOf(client.mkdir(parent, name)),
    unlink: await codeOf(client.unlink(parent, name)),
    rmdir: await codeOf(client.rmdir(parent, name)),
    renameFrom: await codeOf(client.rename(parent, name, parent, 'other')),
    renameTo: await codeOf(client.rename(parent, 'present', parent, name)),
    rename2To: await codeOf(client.rename2(parent, 'present', parent, name, 0)),
  }
}

function allOf(code: string): Record<string, string> {
  const names = [
    'lookup',
    'create',
    'mknod',
    'mkdir',
    'unlink',
    'rmdir',
    'renameFrom',
    'renameTo',
    'rename2To',
  ]
  return Object.fromEntries(names.map((name) => [name, code]))
}

describeStores('names', { stores: STORES_AND_WEBDAV }, (served, store) => {
  const { properties } = store
  const isRefused = (name: string): boolean => properties.refusedNames?.test(name) === true
  const goodNames = [...GOOD_NAMES, ...DELICATE_NAMES.filter((name) => !isRefused(name))]

  it('are kept exactly, for files', async () => {
    const fs = served().guestFs()
    await fs.mkdir('files')
    const { client } = served()
    const parent = await served().nodeid('m/files')
    for (const [index, name] of goodNames.entries()) {
      const { entry, fh } = await client.create(parent, name, O_RDWR | O_CREAT)
      await client.write(entry.nodeid, fh, 0, Buffer.from(`${index}`))
      await client.flush(entry.nodeid, fh)
      await client.release(entry.nodeid, fh)
      await client.forget(entry.nodeid)
    }
    assert.deepEqual(await fs.list('files'), [...goodNames].sort())
    for (const [index, name] of goodNames.entries()) {
      assert.equal(await fs.readText(`files/${name}`), `${index}`, JSON.stringify(name))
    }
    if (served().hasView) {
      for (const [index, name] of goodNames.entries()) {
        assert.equal(
          (await served().view.read(`files/${name}`))?.toString(),
          `${index}`,
          JSON.stringify(name),
        )
      }
    }
    for (const name of goodNames) await client.unlink(parent, name)
    assert.deepEqual(await fs.list('files'), [])
  })

  it('are kept exactly, for directories and renames', async () => {
    const fs = served().guestFs()
    await fs.mkdir('directories')
    const { client } = served()
    const parent = await served().nodeid('m/directories')
    for (const name of goodNames) {
      await client.mkdir(parent, 'start')
      await fs.writeFile('directories/start/file', name)
      await client.rename(parent, 'start', parent, name)
    }
    assert.deepEqual(await fs.list('directories'), [...goodNames].sort())
    for (const name of goodNames) {
      assert.equal(await fs.readText(`directories/${name}/file`), name)
      await fs.unlink(`directories/${name}/file`)
      await client.rmdir(parent, name)
    }
    assert.deepEqual(await fs.list('directories'), [])
  })

  it('with a backslash are one name, not two', async () => {
    const { client } = served()
    const fs = served().guestFs()
    await fs.mkdir('backslash')
    const parent = await served().nodeid('m/backslash')
    const code = await codeOf(client.mkdir(parent, 'back\\slash'))
    if (code === 'OK') {
      assert.deepEqual(await fs.list('backslash'), ['back\\slash'])
      assert.equal((await client.lookup(parent, 'back\\slash')).nodeid > 0, true)
      await client.rmdir(parent, 'back\\slash')
    } else {
      assert.equal(code, 'EINVAL')
    }
    assert.deepEqual(await fs.list('backslash'), [])
  })

  it('that the store cannot hold are EINVAL for what makes them, missing for the rest', async () => {
    const { client } = served()
    const fs = served().guestFs()
    await fs.mkdir('refused')
    const parent = await served().nodeid('m/refused')
    await fs.writeFile('refused/present', 'x')
    for (const name of DELICATE_NAMES.filter(isRefused)) {
      const codes = await codesOf(client, parent, name)
      const expected = {
        ...allOf('EINVAL'),
        lookup: 'ENOENT',
        unlink: 'ENOENT',
        rmdir: 'ENOENT',
        renameFrom: 'ENOENT',
      }
      assert.deepEqual(codes, expected, JSON.stringify(name))
    }
    assert.deepEqual(await fs.list('refused'), ['present'])
  })

  it('longer than 255 bytes are ENAMETOOLONG', async () => {
    const { client } = served()
    const fs = served().guestFs()
    await fs.mkdir('long')
    const parent = await served().nodeid('m/long')
    await fs.writeFile('long/present', 'x')
    for (const name of LONG_NAMES) {
      assert.deepEqual(await codesOf(client, parent, name), allOf('ENAMETOOLONG'), `${name.length}`)
    }
    assert.deepEqual(await fs.list('long'), ['present'])
  })

  it('that are no names are EINVAL', async () => {
    const { client } = served()
    const fs = served().guestFs()
    await fs.mkdir('bad')
    const parent = await served().nodeid('m/bad')
    await fs.writeFile('bad/present', 'x')
    for (const name of BAD_NAMES) {
      // Windows's driver looks these up; nothing is made or removed by them.
      const lookup = name === '.' || name === '..' ? { lookup: 'OK' } : {}
      const expected = { ...allOf('EINVAL'), ...lookup }
      assert.deepEqual(await codesOf(client, parent, name), expected, JSON.stringify(name))
    }
    assert.deepEqual(await fs.list('bad'), ['present'])
  })

  it('end at their first NUL; without one they are EINVAL', async () => {
    const { client } = served()
    const fs = served().guestFs()
    await fs.mkdir('nul')
    const parent = await served().nodeid('m/nul')
    await client.mkdir(parent, Buffer.from('before\0after'))
    assert.deepEqual(await fs.list('nul'), ['before'])
    const { error } = await client.request(
      Opcode.LOOKUP,
      parent,
      Buffer.from('unending'),
      StructBytes.entry_out,
    )
    assert.equal(error, -22)
  })

  it(`add up to paths of at most ${properties.maxPathBytes} bytes`, async () => {
    const { client } = served()
    let parent = await served().nodeid()
    let depth = 0
    let code = 'OK'
    const name = 'p'.repeat(250)
    while (code === 'OK' && depth <= properties.maxPathBytes / name.length) {
      code = await codeOf(client.mkdir(parent, name))
      if (code !== 'OK') break
      parent = (await client.lookup(parent, name)).nodeid
      depth++
    }
    assert.equal(code, 'ENAMETOOLONG')
    const levels = Math.floor((properties.maxPathBytes + 1) / (name.length + 1))
    // The host may end it a little earlier, by the length of its own path.
    assert.ok(depth === levels || (store.name === 'fs' && depth === levels - 1), `${depth} levels`)
    assert.equal(await codeOf(client.create(parent, name, O_RDWR | O_CREAT)), 'ENAMETOOLONG')
    assert.equal(await codeOf(client.lookup(parent, name)), 'ENAMETOOLONG')
    if (store.name === 'fs') return
    const rest = properties.maxPathBytes - levels * (name.length + 1)
    const fs = served().guestFs(`m/${`${name}/`.repeat(levels)}`)
    await fs.mkdir('d'.repeat(rest))
    await fs.rename('d'.repeat(rest), 'e'.repeat(rest))
    await fs.writeFile('f'.repeat(rest), 'at the very end')
    assert.equal(await fs.readText('f'.repeat(rest)), 'at the very end')
    assert.equal(await codeOf(client.mkdir(parent, 'd'.repeat(rest + 1))), 'ENAMETOOLONG')
    assert.equal(await codeOf(client.create(parent, 'f'.repeat(rest + 1), O_RDWR | O_CREAT)), 'ENAMETOOLONG')
  })

  it("keep the daemon's own directory out of reach", async () => {
    const { client } = served()
    const fs = served().guestFs()
    // Make it exist in the store.
    await fs.writeFile('present', 'x')
    const file = await fs.open('present', O_RDWR)
    await fs.unlink('present')
    await fs.writeFile('present', 'y')
    const parent = await served().nodeid()
    assert.deepEqual(await codesOf(client, parent, '.ovfsd'), {
      lookup: 'ENOENT',
      create: 'EPERM',
      mknod: 'EPERM',
      mkdir: 'EPERM',
      unlink: 'ENOENT',
      rmdir: 'ENOENT',
      renameFrom: 'ENOENT',
      renameTo: 'EPERM',
      rename2To: 'EPERM',
    })
    assert.ok(!(await fs.list()).includes('.ovfsd'))
    assert.ok(!(await fs.listWithAttributes()).has('.ovfsd'))
    await file.close()
    // Elsewhere it is a name like any other.
    await fs.mkdirs('sub/.ovfsd')
    assert.deepEqual(await fs.list('sub'), ['.ovfsd'])
  })
})
