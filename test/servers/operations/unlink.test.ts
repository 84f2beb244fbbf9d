/** UNLINK and RMDIR: what is gone, what lives on for those who have it open, and what is refused. */
import assert from 'node:assert/strict'
import { it } from 'node:test'
import { O_CREAT, O_RDWR } from '../../frontend/abi.js'
import { codeOf } from '../../frontend/fuse-client.js'
import { assertSameBytes, randomBytes } from '../../support/bytes.js'
import { describeStores, raceWith, type Served } from '../../support/served.js'
import { STORES_AND_WEBDAV } from '../../support/stores.js'

const MIB = 1 << 20

async function storedPaths(served: Served): Promise<string[]> {
  return served.hasView ? served.view.paths() : []
}

async function hiddenFiles(served: Served): Promise<string[]> {
  return (await storedPaths(served)).filter((path) => path.startsWith('.ovfsd/') && path !== '.ovfsd/')
}

for (const writeBack of [false, true]) {
  describeStores(
    `unlink, write-back ${writeBack ? 'on' : 'off'}`,
    { settings: { writeBack } },
    (served, { properties }) => {
      const { rounds, turnsBefore } = raceWith(properties)

      it("removes a file from the guest's view and from the store", async () => {
        const fs = served().guestFs()
        await fs.writeFile('plain', 'x')
        await fs.unlink('plain')
        assert.equal(await fs.exists('plain'), false)
        assert.ok(!(await fs.list()).includes('plain'))
        assert.ok(!(await storedPaths(served())).includes('plain'))
      })

      it('leaves an open file readable and writable until its last release, then nothing', async () => {
        const fs = served().guestFs()
        const data = randomBytes(3 * MIB)
        await fs.writeFile('open', data)
        const first = await fs.open('open', O_RDWR)
        const second = await fs.open('open', O_RDWR)
        await fs.unlink('open')
        assert.equal(await fs.exists('open'), false)
        assert.ok(!(await storedPaths(served())).includes('open'))
        assertSameBytes(await first.readAll(), data)
        await first.write(MIB, 'written after unlink')
        data.write('written after unlink', MIB)
        assertSameBytes(await second.readAll(), data)
        assert.equal((await first.stat()).nlink, 0)
        await first.flush()
        await first.fsync()
        await first.truncate(2 * MIB)
        await first.close()
        assertSameBytes(await second.readAll(), data.subarray(0, 2 * MIB))
        await second.close()
        assert.deepEqual(await hiddenFiles(served()), [])
        assert.equal(await fs.exists('open'), false)
      })

      it('leaves an open file that the store never had', async () => {
        const fs = served().guestFs()
        const file = await fs.open('temporary', O_RDWR | O_CREAT)
        await fs.unlink('temporary')
        await file.write(0, 'scratch data')
        await file.fsync()
        assert.equal((await file.readAll()).toString(), 'scratch data')
        await file.close()
        assert.deepEqual(
          (await storedPaths(served())).filter((path) => path.includes('temporary')),
          [],
        )
        assert.deepEqual(await hiddenFiles(served()), [])
      })

      it('leaves an open file whose upload has begun', async () => {
        const fs = served().guestFs()
        const data = randomBytes(24 * MIB)
        const file = await fs.open('uploading', O_RDWR | O_CREAT)
        await file.write(0, data.subarray(0, 20 * MIB))
        await fs.unlink('uploading')
        await file.write(20 * MIB, data.subarray(20 * MIB))
        assertSameBytes(await file.readAll(), data)
        await file.close()
        assert.deepEqual(
          (await storedPaths(served())).filter((path) => path.includes('uploading')),
          [],
        )
        assert.deepEqual(await hiddenFiles(served()), [])
      })

      it('leaves an open file alone when another takes its name', async () => {
        const fs = served().guestFs()
        await fs.writeFile('reused', 'old')
        const old = await fs.open('reused', O_RDWR)
        await fs.unlink('reused')
        await fs.writeFile('reused', 'new')
        assert.equal((await old.readAll()).toString(), 'old')
        await old.write(0, 'OLD')
        assert.equal(await fs.readText('reused'), 'new')
        await old.close()
        assert.equal(await fs.readText('reused'), 'new')
        assert.deepEqual(await hiddenFiles(served()), [])
      })

      it('keeps two open files of one former name apart', async () => {
        const fs = served().guestFs()
        const files = []
        for (const text of ['first', 'second', 'third']) {
          await fs.writeFile('again', text)
          files.push({ text, file: await fs.open('again', O_RDWR) })
          await fs.unlink('again')
        }
        for (const { text, file } of files) {
          assert.equal((await file.readAll()).toString(), text)
          await file.close()
        }
        assert.deepEqual(await hiddenFiles(served()), [])
      })

      it('is whole or gone for whoever opens it at any moment of its removal', async () => {
        const { client } = served()
        const fs = served().guestFs()
        const parent = await served().nodeid()
        for (let round = 0; round < rounds; round++) {
          await fs.writeFile('removed', 'contents')
          await client.syncfs()
          const { nodeid } = await client.lookup(parent, 'removed')
          const unlinked = client.unlink(parent, 'removed')
          for (let turn = 0; turn < turnsBefore(round); turn++)
            await new Promise((resolve) => setImmediate(resolve))
          const opened = await client.open(nodeid, O_RDWR).catch((error: unknown) => error)
          await unlinked
          if (opened instanceof Error) {
            assert.match(opened.message, /ENOENT|ESTALE/)
          } else {
            const { fh } = opened as { fh: bigint }
            const data = await client.read(nodeid, fh, 0, 100)
            assert.equal(Buffer.from(data).toString(), 'contents', `round ${round}`)
            await client.release(nodeid, fh)
          }
          await client.forget(nodeid)
        }
        assert.deepEqual(await hiddenFiles(served()), [])
      })

      it('leaves a file to whoever opens it in the same burst', async () => {
        const { client } = served()
        const fs = served().guestFs()
        await fs.writeFile('raced', 'contents')
        await client.syncfs()
        const parent = await served().nodeid()
        const { nodeid } = await client.lookup(parent, 'raced')
        client.front.cork(1)
        const unlinked = client.unlink(parent, 'raced')
        const opened = client.open(nodeid, O_RDWR)
        client.front.uncork(1)
        const [, { fh }] = await Promise.all([unlinked, opened])
        assert.equal(Buffer.from(await client.read(nodeid, fh, 0, 100)).toString(), 'contents')
        await client.write(nodeid, fh, 0, Buffer.from('CON'))
        assert.equal(Buffer.from(await client.read(nodeid, fh, 0, 100)).toString(), 'CONtents')
        await client.release(nodeid, fh)
        assert.equal(await fs.exists('raced'), false)
        assert.deepEqual(await hiddenFiles(served()), [])
      })
    },
  )
}

describeStores('unlink and rmdir', { stores: STORES_AND_WEBDAV }, (served) => {
  it('are ENOENT for what is missing, EISDIR and ENOTDIR for the other kind', async () => {
    const { client } = served()
    const fs = served().guestFs()
    await fs.mkdir('directory')
    await fs.writeFile('file', '')
    const parent = await served().nodeid()
    assert.equal(await codeOf(client.unlink(parent, 'missing')), 'ENOENT')
    assert.equal(await codeOf(client.rmdir(parent, 'missing')), 'ENOENT')
    assert.equal(await codeOf(client.unlink(parent, 'directory')), 'EISDIR')
    assert.equal(await codeOf(client.rmdir(parent, 'file')), 'ENOTDIR')
    const file = await served().nodeid('m/file')
    assert.equal(await codeOf(client.unlink(file, 'x')), 'ENOTDIR')
    assert.equal(await codeOf(client.rmdir(file, 'x')), 'ENOTDIR')
  })

  it('rmdir removes an empty directory only', async () => {
    const fs = served().guestFs()
    await fs.mkdirs('outer/inner')
    assert.equal(await codeOf(fs.rmdir('outer')), 'ENOTEMPTY')
    await fs.writeFile('outer/inner/file', 'x')
    assert.equal(await codeOf(fs.rmdir('outer/inner')), 'ENOTEMPTY')
    await fs.unlink('outer/inner/file')
    await fs.rmdir('outer/inner')
    await fs.rmdir('outer')
    assert.equal(await fs.exists('outer'), false)
    assert.ok(!(await storedPaths(served())).includes('outer/'))
  })

  it('rmdir refuses a directory that holds only an unsaved file', async () => {
    const fs = served().guestFs()
    await fs.mkdir('unsaved')
    const file = await fs.open('unsaved/file', O_RDWR | O_CREAT)
    assert.equal(await codeOf(fs.rmdir('unsaved')), 'ENOTEMPTY')
    await file.close()
    assert.equal(await codeOf(fs.rmdir('unsaved')), 'ENOTEMPTY')
  })

  it('rmdir takes a directory whose last file is open but unlinked', async () => {
    const fs = served().guestFs()
    await fs.mkdir('left')
    await fs.writeFile('left/file', 'contents')
    const file = await fs.open('left/file', O_RDWR)
    await fs.unlink('left/file')
    await fs.rmdir('left')
    assert.equal((await file.readAll()).toString(), 'contents')
    await file.close()
    assert.equal(await fs.exists('left'), false)
    assert.deepEqual(await hiddenFiles(served()), [])
  })

  it('removing the last file leaves its directory', async () => {
    const fs = served().guestFs()
    await fs.mkdir('stays')
    await fs.writeFile('stays/file', 'x')
    await fs.unlink('stays/file')
    assert.equal(await fs.exists('stays'), true)
    assert.deepEqual(await fs.list('stays'), [])
  })

  it('a removed directory can be read by who has it open, and is empty', async () => {
    const { client } = served()
    const fs = served().guestFs()
    await fs.mkdir('open-directory')
    const nodeid = await served().nodeid('m/open-directory')
    const { fh } = await client.opendir(nodeid)
    await fs.rmdir('open-directory')
    const names = (await client.readdir(nodeid, fh)).map(({ name }) => name)
    assert.deepEqual(
      names.filter((name) => name !== '.' && name !== '..'),
      [],
    )
    assert.equal((await client.getattr(nodeid)).attr.nlink, 0)
    await client.releasedir(nodeid, fh)
  })

  it('one of many who remove a name succeeds', async () => {
    const { client } = served()
    const parent = await served().nodeid()
    await served().guestFs().writeFile('contested', 'x')
    const codes = await Promise.all(
      Array.from({ length: 5 }, () => codeOf(client.unlink(parent, 'contested'))),
    )
    assert.deepEqual(codes.sort(), ['ENOENT', 'ENOENT', 'ENOENT', 'ENOENT', 'OK'])
  })

  it('a file can be made again right after it was removed', async () => {
    const fs = served().guestFs()
    for (let round = 0; round < 20; round++) {
      await fs.writeFile('phoenix', `${round}`)
      assert.equal(await fs.readText('phoenix'), `${round}`)
      await fs.unlink('phoenix')
      assert.equal(await fs.exists('phoenix'), false)
    }
  })
})
