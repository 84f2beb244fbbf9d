/** CREATE, MKNOD and OPEN: O_CREAT, O_EXCL, O_TRUNC, O_APPEND and the access modes. */
import assert from 'node:assert/strict'
import { it } from 'node:test'
import {
  O_APPEND,
  O_CREAT,
  O_EXCL,
  O_RDONLY,
  O_RDWR,
  O_TRUNC,
  O_WRONLY,
  S_IFBLK,
  S_IFCHR,
  S_IFDIR,
  S_IFIFO,
  S_IFREG,
  S_IFSOCK,
} from '../../frontend/abi.js'
import { codeOf } from '../../frontend/fuse-client.js'
import { describeStores } from '../../support/served.js'
import { STORES_AND_WEBDAV } from '../../support/stores.js'

describeStores('create', { stores: STORES_AND_WEBDAV }, (served) => {
  it('makes an empty file that is there after close', async () => {
    const fs = served().guestFs()
    await fs.writeFile('empty', '')
    assert.equal((await fs.stat('empty')).size, 0)
    if (served().hasView) assert.equal((await served().view.read('empty'))?.length, 0)
  })

  it('shows a file to others in the guest before it is closed', async () => {
    const fs = served().guestFs()
    const file = await fs.open('visible', O_RDWR | O_CREAT)
    assert.ok((await fs.list()).includes('visible'))
    assert.equal((await fs.stat('visible')).size, 0)
    await file.write(0, 'abc')
    assert.equal((await fs.stat('visible')).size, 3)
    assert.equal((await fs.listWithAttributes()).get('visible')?.size, 3)
    assert.equal(await fs.readText('visible'), 'abc')
    await file.close()
  })

  it('with O_EXCL makes one of many callers the maker', async () => {
    const { client } = served()
    const parent = await served().nodeid()
    const codes = await Promise.all(
      Array.from({ length: 8 }, () => codeOf(client.create(parent, 'once', O_RDWR | O_CREAT | O_EXCL))),
    )
    assert.deepEqual(codes.sort(), [
      'EEXIST',
      'EEXIST',
      'EEXIST',
      'EEXIST',
      'EEXIST',
      'EEXIST',
      'EEXIST',
      'OK',
    ])
  })

  it('without O_EXCL opens what is there', async () => {
    const { client } = served()
    const parent = await served().nodeid()
    await served().guestFs().writeFile('there', 'contents')
    const { fh, entry } = await client.create(parent, 'there', O_RDWR | O_CREAT)
    assert.equal(entry.attr.size, 8)
    assert.equal(Buffer.from(await client.read(entry.nodeid, fh, 0, 100)).toString(), 'contents')
    await client.release(entry.nodeid, fh)
  })

  it('with O_TRUNC empties what is there', async () => {
    const { client } = served()
    const parent = await served().nodeid()
    await served().guestFs().writeFile('emptied', 'contents')
    const { fh, entry } = await client.create(parent, 'emptied', O_RDWR | O_CREAT | O_TRUNC)
    assert.equal(entry.attr.size, 0)
    await client.flush(entry.nodeid, fh)
    await client.release(entry.nodeid, fh)
    assert.equal(await served().guestFs().readText('emptied'), '')
    if (served().hasView) assert.equal((await served().view.read('emptied'))?.length, 0)
  })

  it('is EISDIR where a directory is, with O_EXCL EEXIST', async () => {
    const { client } = served()
    const parent = await served().nodeid()
    await served().guestFs().mkdir('taken')
    assert.equal(await codeOf(client.create(parent, 'taken', O_RDWR | O_CREAT)), 'EISDIR')
    assert.equal(await codeOf(client.create(parent, 'taken', O_RDWR | O_CREAT | O_EXCL)), 'EEXIST')
    assert.equal(await codeOf(client.mkdir(parent, 'taken')), 'EEXIST')
    assert.equal(await codeOf(client.mknod(parent, 'taken', S_IFREG | 0o644)), 'EEXIST')
  })

  it('is ENOTDIR in a file', async () => {
    const { client } = served()
    await served().guestFs().writeFile('no-directory', '')
    const nodeid = await served().nodeid('m/no-directory')
    assert.equal(await codeOf(client.create(nodeid, 'x', O_RDWR | O_CREAT)), 'ENOTDIR')
    assert.equal(await codeOf(client.mkdir(nodeid, 'x')), 'ENOTDIR')
    assert.equal(await codeOf(client.mknod(nodeid, 'x', S_IFREG)), 'ENOTDIR')
  })

  it('is ENOENT in a directory that was removed, and does not bring it back', async () => {
    const { client } = served()
    const fs = served().guestFs()
    await fs.mkdir('removed')
    const nodeid = await served().nodeid('m/removed')
    await fs.rmdir('removed')
    assert.equal(await codeOf(client.create(nodeid, 'x', O_RDWR | O_CREAT)), 'ENOENT')
    assert.equal(await codeOf(client.mknod(nodeid, 'x', S_IFREG)), 'ENOENT')
    assert.equal(await codeOf(client.mkdir(nodeid, 'x')), 'ENOENT')
    assert.equal(await codeOf(client.lookup(nodeid, 'x')), 'ENOENT')
    assert.equal(await fs.exists('removed'), false)
    await fs.mkdir('removed')
    await fs.writeFile('removed/x', 'of the new directory')
    assert.equal(await codeOf(client.lookup(nodeid, 'x')), 'ENOENT')
  })

  it('mknod stores an empty regular file at once and refuses others', async () => {
    const { client } = served()
    const parent = await served().nodeid()
    const { attr } = await client.mknod(parent, 'node', S_IFREG | 0o600)
    assert.equal(attr.size, 0)
    if (served().hasView) assert.equal((await served().view.read('node'))?.length, 0)
    assert.equal(await codeOf(client.mknod(parent, 'node', S_IFREG | 0o600)), 'EEXIST')
    for (const type of [S_IFIFO, S_IFSOCK, S_IFCHR, S_IFBLK, S_IFDIR]) {
      assert.equal(await codeOf(client.mknod(parent, 'special', type | 0o600)), 'EPERM')
    }
    assert.equal(await served().guestFs().exists('special'), false)
  })

  it('keeps descriptors to what they were opened for', async () => {
    const { client } = served()
    await served().guestFs().writeFile('modes', 'contents')
    const nodeid = await served().nodeid('m/modes')
    const reader = await client.open(nodeid, O_RDONLY)
    const writer = await client.open(nodeid, O_WRONLY)
    assert.equal(await codeOf(client.write(nodeid, reader.fh, 0, Buffer.from('x'))), 'EBADF')
    assert.equal(await codeOf(client.read(nodeid, writer.fh, 0, 1)), 'EBADF')
    assert.equal(await codeOf(client.fallocate(nodeid, reader.fh, 0, 1)), 'EBADF')
    await client.release(nodeid, reader.fh)
    await client.release(nodeid, writer.fh)
    assert.equal(await served().guestFs().readText('modes'), 'contents')
  })

  it('with O_APPEND writes at the end, whatever offset the guest believes in', async () => {
    const { client } = served()
    await served().guestFs().writeFile('log', 'one\n')
    const nodeid = await served().nodeid('m/log')
    const first = await client.open(nodeid, O_WRONLY | O_APPEND)
    const second = await client.open(nodeid, O_WRONLY | O_APPEND)
    const append = { openFlags: O_WRONLY | O_APPEND }
    await client.write(nodeid, first.fh, 0, Buffer.from('two\n'), append)
    await client.write(nodeid, second.fh, 4, Buffer.from('three\n'), append)
    await client.write(nodeid, first.fh, 1_000_000, Buffer.from('four\n'), append)
    for (const { fh } of [first, second]) {
      await client.flush(nodeid, fh)
      await client.release(nodeid, fh)
    }
    assert.equal(await served().guestFs().readText('log'), 'one\ntwo\nthree\nfour\n')
  })

  it('lets many append at the same time without losing a line', async () => {
    const { client } = served()
    const fs = served().guestFs()
    await fs.writeFile('shared-log', '')
    const nodeid = await served().nodeid('m/shared-log')
    const { fh } = await client.open(nodeid, O_WRONLY | O_APPEND)
    const lines = Array.from({ length: 200 }, (_, i) => `line ${i}\n`)
    const openFlags = O_WRONLY | O_APPEND
    await Promise.all(lines.map((line) => client.write(nodeid, fh, 0, Buffer.from(line), { openFlags })))
    await client.flush(nodeid, fh)
    await client.release(nodeid, fh)
    assert.deepEqual(
      (await fs.readText('shared-log')).split('\n').sort(),
      [...lines.map((line) => line.trim()), ''].sort(),
    )
  })

  it('is EISDIR when a directory is opened as a file, ENOTDIR the other way round', async () => {
    const { client } = served()
    const fs = served().guestFs()
    await fs.mkdir('kind')
    await fs.writeFile('kind/file', '')
    assert.equal(await codeOf(client.open(await served().nodeid('m/kind'), O_RDONLY)), 'EISDIR')
    assert.equal(await codeOf(client.opendir(await served().nodeid('m/kind/file'))), 'ENOTDIR')
  })

  it('gives each open a handle of its own; a released one is EBADF', async () => {
    const { client } = served()
    await served().guestFs().writeFile('handles', 'x')
    const nodeid = await served().nodeid('m/handles')
    const first = await client.open(nodeid)
    const second = await client.open(nodeid)
    assert.notEqual(first.fh, second.fh)
    await client.release(nodeid, first.fh)
    assert.equal(await codeOf(client.release(nodeid, first.fh)), 'EBADF')
    assert.equal(await codeOf(client.read(nodeid, first.fh, 0, 1)), 'EBADF')
    assert.equal(await codeOf(client.flush(nodeid, first.fh)), 'EBADF')
    assert.equal(await codeOf(client.fsync(nodeid, first.fh)), 'EBADF')
    assert.equal((await client.read(nodeid, second.fh, 0, 1)).length, 1)
    await client.release(nodeid, second.fh)
  })
})
