/** What a host's directory holds that a guest never made: symbolic links, FIFOs, sockets, names that are no UTF-8. */
import assert from 'node:assert/strict'
import { execFileSync } from 'node:child_process'
import { linkSync, mkdirSync, mkdtempSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs'
import { createServer } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, before, it } from 'node:test'
import { O_CREAT, O_RDWR, S_IFDIR, S_IFMT, S_IFREG } from '../../frontend/abi.js'
import { codeOf } from '../../frontend/fuse-client.js'
import { describeStores } from '../../support/served.js'
import { directoryStore } from '../../support/stores.js'

const SECRET = 'not for guests'

describeStores('entries of the host', { stores: [directoryStore] }, (served) => {
  let outside = ''
  before(() => {
    outside = mkdtempSync(join(tmpdir(), 'ovfsd-outside-'))
    writeFileSync(join(outside, 'secret'), SECRET)
    mkdirSync(join(outside, 'directory'))
    writeFileSync(join(outside, 'directory', 'secret'), SECRET)
  })
  after(() => {
    rmSync(outside, { recursive: true, force: true })
  })
  const host = (path: string): string => join(served().hostDirectory, path)

  it('links that lead out are never followed', async () => {
    const { client } = served()
    const fs = served().guestFs()
    const parent = await served().nodeid()
    symlinkSync(join(outside, 'secret'), host('to-file'))
    symlinkSync(outside, host('to-directory'))
    symlinkSync('/', host('to-root'))
    symlinkSync('..', host('to-parent'))
    symlinkSync(`../${outside.split('/').at(-1) ?? ''}/secret`, host('relative'))
    for (const name of ['to-file', 'to-directory', 'to-root', 'to-parent', 'relative']) {
      assert.equal(await codeOf(client.lookup(parent, name)), 'EACCES', name)
      assert.equal(await codeOf(client.create(parent, name, O_RDWR | O_CREAT)), 'EACCES', name)
    }
    assert.equal(await codeOf(fs.readFile('to-directory/secret')), 'EACCES')
    const attributes = await fs.listWithAttributes()
    for (const name of attributes.keys()) assert.ok(!name.startsWith('to-'), name)
    assert.equal(readFileSync(join(outside, 'secret'), 'utf8'), SECRET)
  })

  it('a chain of links that leads out at its end is not followed', async () => {
    const { client } = served()
    const parent = await served().nodeid()
    symlinkSync('second', host('first'))
    symlinkSync('third', host('second'))
    symlinkSync(join(outside, 'secret'), host('third'))
    assert.equal(await codeOf(client.lookup(parent, 'first')), 'EACCES')
  })

  it('a directory that becomes a link to the outside is not followed by those who hold it', async () => {
    const { client } = served()
    const fs = served().guestFs()
    await fs.mkdirs('swapped')
    await fs.writeFile('swapped/secret', 'of the guest')
    const directory = await served().nodeid('m/swapped')
    const file = await fs.open('swapped/secret', O_RDWR)
    rmSync(host('swapped'), { recursive: true })
    symlinkSync(join(outside, 'directory'), host('swapped'))
    assert.equal(await codeOf(client.create(directory, 'made-outside', O_RDWR | O_CREAT)), 'EACCES')
    assert.equal(await codeOf(client.mkdir(directory, 'made-outside')), 'EACCES')
    assert.equal(await codeOf(client.lookup(directory, 'made-outside')), 'EACCES')
    await file.write(0, 'X')
    assert.equal(await codeOf(file.flush()), 'EACCES')
    await file.close().catch(() => undefined)
    assert.equal(readFileSync(join(outside, 'directory', 'secret'), 'utf8'), SECRET)
    assert.equal(await codeOf(client.unlink(directory, 'secret')), 'EACCES')
    assert.equal(readFileSync(join(outside, 'directory', 'secret'), 'utf8'), SECRET)
  })

  it('links that stay inside are seen as what they lead to', async () => {
    const fs = served().guestFs()
    mkdirSync(host('target'))
    writeFileSync(host('target/file'), 'inside')
    symlinkSync('target', host('link-to-directory'))
    symlinkSync('target/file', host('link-to-file'))
    symlinkSync(host('target/file'), host('absolute-link'))
    assert.equal((await fs.stat('link-to-directory')).mode & S_IFMT, S_IFDIR)
    assert.equal((await fs.stat('link-to-file')).mode & S_IFMT, S_IFREG)
    assert.equal((await fs.stat('link-to-file')).size, 6)
    assert.equal(await fs.readText('link-to-file'), 'inside')
    assert.equal(await fs.readText('absolute-link'), 'inside')
    assert.equal(await fs.readText('link-to-directory/file'), 'inside')
    assert.deepEqual(await fs.list('link-to-directory'), ['file'])
    await fs.writeFile('link-to-directory/new', 'made through the link')
    assert.equal(readFileSync(host('target/new'), 'utf8'), 'made through the link')
  })

  it('links that lead nowhere or in circles are not there, and harm nothing', async () => {
    const fs = served().guestFs()
    symlinkSync('nowhere', host('dangling'))
    symlinkSync('circle2', host('circle1'))
    symlinkSync('circle1', host('circle2'))
    for (const name of ['dangling', 'circle1']) {
      const code = await codeOf(fs.stat(name))
      assert.ok(['ENOENT', 'ELOOP', 'EACCES'].includes(code), `${name}: ${code}`)
    }
    assert.ok(!(await fs.listWithAttributes()).has('dangling'))
  })

  it('hard links are two names of their own', async () => {
    const fs = served().guestFs()
    writeFileSync(host('name1'), 'one file')
    linkSync(host('name1'), host('name2'))
    assert.equal(await fs.readText('name1'), 'one file')
    assert.equal(await fs.readText('name2'), 'one file')
  })

  it('FIFOs, sockets and devices are not shown and not opened', async (t) => {
    const { client } = served()
    const fs = served().guestFs()
    await fs.mkdirs('special')
    execFileSync('mkfifo', [host('special/fifo')])
    const server = createServer()
    await new Promise<void>((resolve) => server.listen(host('special/socket'), resolve))
    t.after(() => server.close())
    symlinkSync('fifo', host('special/link-to-fifo'))
    const parent = await served().nodeid('m/special')
    for (const name of ['fifo', 'socket', 'link-to-fifo']) {
      assert.equal(await codeOf(client.lookup(parent, name)), 'ENOENT', name)
    }
    assert.deepEqual(
      (await fs.list('special')).filter((name) => name !== 'link-to-fifo'),
      [],
    )
    assert.deepEqual([...(await fs.listWithAttributes('special')).keys()], [])
    assert.equal(await codeOf(fs.rmdir('special')), 'ENOTEMPTY')
  })

  it('names that are no UTF-8 leave the others to be listed', async () => {
    const fs = served().guestFs()
    mkdirSync(host('latin1'))
    writeFileSync(Buffer.concat([Buffer.from(host('latin1/')), Buffer.from([0x66, 0xfc, 0x72])]), 'für')
    writeFileSync(host('latin1/plain'), 'x')
    assert.ok((await fs.list('latin1')).includes('plain'))
    assert.ok((await fs.listWithAttributes('latin1')).has('plain'))
  })
})
