/** RENAME and RENAME2: files and directories, over what is there, with open files, and what is refused. */
import assert from 'node:assert/strict'
import { it } from 'node:test'
import {
  O_CREAT,
  O_RDONLY,
  O_RDWR,
  RENAME_EXCHANGE,
  RENAME_NOREPLACE,
  RENAME_WHITEOUT,
} from '../../frontend/abi.js'
import { codeOf } from '../../frontend/fuse-client.js'
import { assertSameBytes, randomBytes } from '../../support/bytes.js'
import { describeEachStore, describeStores, raceWith, serve, type Served } from '../../support/served.js'
import { STORES, STORES_AND_WEBDAV } from '../../support/stores.js'

async function hiddenFiles(served: Served): Promise<string[]> {
  if (!served.hasView) return []
  return (await served.view.paths()).filter((path) => path.startsWith('.ovfsd/') && path !== '.ovfsd/')
}

describeStores('rename', { stores: STORES_AND_WEBDAV }, (served, { properties }) => {
  const { rounds, turnsBefore } = raceWith(properties)

  it('moves a file, its contents and its time', async () => {
    const fs = served().guestFs()
    await fs.writeFile('from', 'contents')
    await fs.utimes('from', 1000, 1000)
    await fs.rename('from', 'to')
    assert.equal(await fs.exists('from'), false)
    assert.equal(await fs.readText('to'), 'contents')
    assert.equal((await fs.stat('to')).mtime, 1000)
    if (served().hasView) {
      assert.equal((await served().view.read('to'))?.toString(), 'contents')
      assert.equal(await served().view.read('from'), null)
    }
  })

  it('keeps the nodeid and what is open', async () => {
    const fs = served().guestFs()
    await fs.writeFile('kept', 'contents')
    const file = await fs.open('kept', O_RDWR)
    await fs.rename('kept', 'kept-elsewhere')
    assert.equal(await served().nodeid('m/kept-elsewhere'), file.nodeid)
    assert.equal((await file.readAll()).toString(), 'contents')
    await file.write(0, 'CONTENTS')
    await file.close()
    assert.equal(await fs.readText('kept-elsewhere'), 'CONTENTS')
    assert.equal(await fs.exists('kept'), false)
  })

  it('moves a file into another directory and over an existing one', async () => {
    const fs = served().guestFs()
    await fs.mkdirs('one')
    await fs.mkdirs('two')
    await fs.writeFile('one/file', 'new')
    await fs.writeFile('two/file', 'old and longer')
    await fs.rename('one/file', 'two/file')
    assert.equal(await fs.readText('two/file'), 'new')
    assert.deepEqual(await fs.list('one'), [])
    assert.deepEqual(await fs.list('two'), ['file'])
  })

  it('moves a file that the store does not have yet', async () => {
    const fs = served().guestFs()
    const file = await fs.open('unsaved', O_RDWR | O_CREAT)
    await file.write(0, 'unsaved')
    await fs.rename('unsaved', 'saved')
    await file.close()
    assert.equal(await fs.readText('saved'), 'unsaved')
    assert.equal(await fs.exists('unsaved'), false)
    if (served().hasView) {
      assert.equal((await served().view.read('saved'))?.toString(), 'unsaved')
      assert.equal(await served().view.read('unsaved'), null)
    }
  })

  it('moves an unsaved file over a saved one (the way editors save)', async () => {
    const fs = served().guestFs()
    await fs.writeFile('document', 'version 1')
    const file = await fs.open('document.new', O_RDWR | O_CREAT)
    await file.write(0, 'version 2')
    await fs.rename('document.new', 'document')
    assert.equal(await fs.readText('document'), 'version 2')
    await file.close()
    assert.equal(await fs.readText('document'), 'version 2')
    assert.equal(await fs.exists('document.new'), false)
    if (served().hasView) assert.equal((await served().view.read('document'))?.toString(), 'version 2')
  })

  it('over an open file leaves that file to those who have it open', async () => {
    const fs = served().guestFs()
    await fs.writeFile('victim', 'of the victim')
    await fs.writeFile('usurper', 'of the usurper')
    const victim = await fs.open('victim', O_RDWR)
    await fs.rename('usurper', 'victim')
    assert.equal((await victim.readAll()).toString(), 'of the victim')
    await victim.write(0, 'OF')
    assert.equal((await victim.readAll()).toString(), 'OF the victim')
    assert.equal(await fs.readText('victim'), 'of the usurper')
    await victim.close()
    assert.equal(await fs.readText('victim'), 'of the usurper')
    assert.deepEqual(await hiddenFiles(served()), [])
  })

  it('over a file that is opened in the same burst leaves it whole to its opener', async () => {
    const { client } = served()
    const fs = served().guestFs()
    await fs.writeFile('raced', 'old file')
    await fs.writeFile('racer', 'new file')
    const parent = await served().nodeid()
    const { nodeid } = await client.lookup(parent, 'raced')
    client.front.cork(1)
    const renamed = client.rename(parent, 'racer', parent, 'raced')
    const opened = client.open(nodeid, O_RDWR)
    client.front.uncork(1)
    const [, { fh }] = await Promise.all([renamed, opened])
    assert.equal(Buffer.from(await client.read(nodeid, fh, 0, 100)).toString(), 'old file')
    await client.write(nodeid, fh, 0, Buffer.from('OLD'))
    await client.flush(nodeid, fh)
    await client.release(nodeid, fh)
    assert.equal(await fs.readText('raced'), 'new file')
    assert.deepEqual(await hiddenFiles(served()), [])
  })

  it('over a file shows whoever opens that at any moment the old file whole, or that it is gone', async () => {
    const { client } = served()
    const fs = served().guestFs()
    const parent = await served().nodeid()
    for (let round = 0; round < rounds; round++) {
      await fs.writeFile('contended', 'old file')
      await fs.writeFile('contender', 'new file')
      const { nodeid } = await client.lookup(parent, 'contended')
      const renamed = client.rename(parent, 'contender', parent, 'contended')
      for (let turn = 0; turn < turnsBefore(round); turn++)
        await new Promise((resolve) => setImmediate(resolve))
      const opened = await client.open(nodeid, O_RDWR).catch((error: unknown) => error)
      await renamed
      if (opened instanceof Error) {
        assert.match(opened.message, /ENOENT|ESTALE/)
      } else {
        const { fh } = opened as { fh: bigint }
        const data = await client.read(nodeid, fh, 0, 100)
        assert.equal(Buffer.from(data).toString(), 'old file', `round ${round}`)
        await client.release(nodeid, fh)
      }
      await client.forget(nodeid)
      assert.equal(await fs.readText('contended'), 'new file')
    }
    assert.deepEqual(await hiddenFiles(served()), [])
  })

  it('of a file over itself changes nothing', async () => {
    const { client } = served()
    await served().guestFs().writeFile('self', 'x')
    const parent = await served().nodeid()
    await client.rename(parent, 'self', parent, 'self')
    assert.equal(await served().guestFs().readText('self'), 'x')
  })

  it('with NOREPLACE refuses an existing name, else moves', async () => {
    const { client } = served()
    const fs = served().guestFs()
    const parent = await served().nodeid()
    await fs.writeFile('no-replace', 'a')
    await fs.writeFile('in-the-way', 'b')
    assert.equal(
      await codeOf(client.rename2(parent, 'no-replace', parent, 'in-the-way', RENAME_NOREPLACE)),
      'EEXIST',
    )
    assert.equal(await fs.readText('in-the-way'), 'b')
    await client.rename2(parent, 'no-replace', parent, 'free', RENAME_NOREPLACE)
    assert.equal(await fs.readText('free'), 'a')
  })

  it('refuses EXCHANGE, WHITEOUT and unknown flags with EINVAL', async () => {
    const { client } = served()
    const fs = served().guestFs()
    const parent = await served().nodeid()
    await fs.writeFile('exchange1', '1')
    await fs.writeFile('exchange2', '2')
    for (const flags of [RENAME_EXCHANGE, RENAME_WHITEOUT, 1 << 30, RENAME_EXCHANGE | RENAME_NOREPLACE]) {
      assert.equal(await codeOf(client.rename2(parent, 'exchange1', parent, 'exchange2', flags)), 'EINVAL')
    }
    assert.equal(await fs.readText('exchange1'), '1')
    assert.equal(await fs.readText('exchange2'), '2')
  })

  it('moves a directory with all that is below, open and unsaved files too', async () => {
    const fs = served().guestFs()
    await fs.mkdirs('tree/sub/deep')
    await fs.writeFile('tree/a', 'a')
    await fs.writeFile('tree/sub/b', 'b')
    const saved = await fs.open('tree/sub/b', O_RDWR)
    const unsaved = await fs.open('tree/sub/deep/c', O_RDWR | O_CREAT)
    await unsaved.write(0, 'cc')
    await saved.write(0, 'B')
    await fs.rename('tree', 'moved')
    assert.equal((await saved.readAll()).toString(), 'B')
    await unsaved.write(2, 'c')
    await fs.writeFile('moved/sub/deep/d', 'd')
    await saved.close()
    await unsaved.close()
    const tree = [...(await fs.snapshot('moved'))].map(([path, data]) => [path, data?.toString() ?? null])
    assert.deepEqual(Object.fromEntries(tree), {
      a: 'a',
      sub: null,
      'sub/b': 'B',
      'sub/deep': null,
      'sub/deep/c': 'ccc',
      'sub/deep/d': 'd',
    })
    assert.equal(await fs.exists('tree'), false)
    if (served().hasView) {
      assert.deepEqual(
        (await served().view.paths()).filter((path) => path.startsWith('tree')),
        [],
      )
      assert.equal((await served().view.read('moved/sub/deep/c'))?.toString(), 'ccc')
    }
  })

  it('moves a directory in the middle of a long upload below it', async () => {
    const fs = served().guestFs()
    await fs.mkdirs('upload')
    const data = randomBytes(20 << 20)
    const file = await fs.open('upload/large', O_RDWR | O_CREAT)
    await file.write(0, data.subarray(0, 15 << 20))
    await fs.rename('upload', 'uploaded')
    await file.write(15 << 20, data.subarray(15 << 20))
    await file.close()
    assertSameBytes(await fs.readFile('uploaded/large'), data)
    assert.equal(await fs.exists('upload'), false)
    assert.deepEqual(await hiddenFiles(served()), [])
  })

  it('moves a directory over an empty one, not over a full one', async () => {
    const fs = served().guestFs()
    await fs.mkdirs('source')
    await fs.writeFile('source/file', 'x')
    await fs.mkdirs('empty')
    await fs.mkdirs('full')
    await fs.writeFile('full/file', 'y')
    assert.equal(await codeOf(fs.rename('source', 'full')), 'ENOTEMPTY')
    assert.equal(await fs.readText('source/file'), 'x')
    assert.equal(await fs.readText('full/file'), 'y')
    await fs.rename('source', 'empty')
    assert.deepEqual(await fs.list('empty'), ['file'])
    assert.equal(await fs.exists('source'), false)
  })

  it('refuses to mix files and directories, and a directory below itself', async () => {
    const { client } = served()
    const fs = served().guestFs()
    await fs.mkdirs('directory/inner')
    await fs.writeFile('plain', 'x')
    const parent = await served().nodeid()
    const directory = await served().nodeid('m/directory')
    const inner = await served().nodeid('m/directory/inner')
    assert.equal(await codeOf(client.rename(parent, 'directory', parent, 'plain')), 'ENOTDIR')
    assert.equal(await codeOf(client.rename(parent, 'plain', parent, 'directory')), 'EISDIR')
    assert.equal(await codeOf(client.rename(parent, 'directory', directory, 'below')), 'EINVAL')
    assert.equal(await codeOf(client.rename(parent, 'directory', inner, 'below')), 'EINVAL')
    assert.equal(await codeOf(client.rename(directory, 'inner', parent, 'directory')), 'ENOTEMPTY')
    assert.deepEqual(await fs.list('directory'), ['inner'])
    assert.equal(await fs.readText('plain'), 'x')
  })

  it('is ENOENT for a missing source and a removed target directory', async () => {
    const { client } = served()
    const fs = served().guestFs()
    const parent = await served().nodeid()
    assert.equal(await codeOf(client.rename(parent, 'nowhere', parent, 'anywhere')), 'ENOENT')
    await fs.writeFile('homeless', 'x')
    await fs.mkdir('gone')
    const gone = await served().nodeid('m/gone')
    await fs.rmdir('gone')
    assert.equal(await codeOf(client.rename(parent, 'homeless', gone, 'x')), 'ENOENT')
    assert.equal(await fs.readText('homeless'), 'x')
  })

  it('of many at once over one name leaves one of them', async () => {
    const { client } = served()
    const fs = served().guestFs()
    const parent = await served().nodeid()
    const names = Array.from({ length: 10 }, (_, i) => `many${i}`)
    for (const name of names) await fs.writeFile(name, name)
    await Promise.all(names.map((name) => client.rename(parent, name, parent, 'winner')))
    assert.ok(names.includes(await fs.readText('winner')))
    for (const name of names) assert.equal(await fs.exists(name), false)
  })

  it('of many directories into each other never loses one', async () => {
    const { client } = served()
    const fs = served().guestFs()
    await fs.mkdirs('cycle/a')
    await fs.mkdirs('cycle/b')
    const parent = await served().nodeid('m/cycle')
    const a = await served().nodeid('m/cycle/a')
    const b = await served().nodeid('m/cycle/b')
    const codes = await Promise.all([
      codeOf(client.rename(parent, 'a', b, 'a')),
      codeOf(client.rename(parent, 'b', a, 'b')),
    ])
    assert.equal(codes.filter((code) => code === 'OK').length, 1, codes.join())
    assert.equal((await fs.snapshot('cycle')).size, 2)
  })
})

describeEachStore('rename and copy_file_range across mounts', STORES, (store) => {
  it('are EXDEV and change nothing', async (t) => {
    const served = await serve({
      mounts: [
        { store, mountPoint: ['one'] },
        { store, mountPoint: ['two'] },
      ],
    })
    t.after(() => served.close())
    await served.guestFs('one').writeFile('file', 'x')
    const [one, two] = [await served.nodeid('one'), await served.nodeid('two')]
    assert.equal(await codeOf(served.client.rename(one, 'file', two, 'file')), 'EXDEV')
    assert.equal(await codeOf(served.client.rename(one, 'file', 1, 'file')), 'EXDEV')
    const source = await served.guestFs('one').open('file', O_RDONLY)
    const target = await served.guestFs('two').open('copy', O_RDWR | O_CREAT)
    const [from, to] = [source, target].map(({ nodeid, fh }) => ({ nodeid, fh, offset: 0 }))
    assert.ok(from !== undefined && to !== undefined)
    assert.equal(await codeOf(served.client.copyFileRange(from, to, 1)), 'EXDEV')
    await Promise.all([source.close(), target.close()])
    assert.equal(await served.guestFs('one').readText('file'), 'x')
    assert.deepEqual(await served.guestFs('two').list(), ['copy'])
    assert.equal((await served.guestFs('two').stat('copy')).size, 0)
  })
})
