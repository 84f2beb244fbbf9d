/** Mounts with read_only = true: everything can be read and nothing changed. */
import assert from 'node:assert/strict'
import os from 'node:os'
import { it } from 'node:test'
import {
  O_APPEND,
  O_CREAT,
  O_EXCL,
  O_RDONLY,
  O_RDWR,
  O_TRUNC,
  O_WRONLY,
  Opcode,
  S_IFREG,
} from '../../frontend/abi.js'
import { codeOf } from '../../frontend/fuse-client.js'
import { describeStores } from '../../support/served.js'
import { SHARED_STORES } from '../../support/stores.js'

/** Room enough for the longest of what the refused requests would carry: fuse_lk_in has 48 bytes. */
const ARGUMENTS = Buffer.alloc(64)
const REPLY_BYTES = 64

describeStores('a read-only mount', { stores: SHARED_STORES, mount: { readOnly: true } }, (served) => {
  it('lets everything be read', async () => {
    await served().view.mkdir('directory')
    await served().view.write('directory/file', 'contents')
    const fs = served().guestFs()
    assert.equal(await fs.readText('directory/file'), 'contents')
    assert.deepEqual(await fs.list('directory'), ['file'])
    assert.equal((await fs.stat('directory/file')).size, 8)
  })

  it('refuses every change with EROFS', async () => {
    await served().view.mkdir('kept')
    await served().view.mkdir('kept/empty')
    await served().view.write('kept/file', 'contents')
    const before = await served().view.paths()
    const { client } = served()
    const parent = await served().nodeid('m/kept')
    const file = await served().nodeid('m/kept/file')
    const { fh } = await client.open(file, O_RDONLY)
    const attempts = {
      create: client.create(parent, 'x', O_RDWR | O_CREAT),
      createExclusive: client.create(parent, 'x', O_RDWR | O_CREAT | O_EXCL),
      createExisting: client.create(parent, 'file', O_RDWR | O_CREAT),
      mknod: client.mknod(parent, 'x', S_IFREG),
      mkdir: client.mkdir(parent, 'x'),
      unlink: client.unlink(parent, 'file'),
      rmdir: client.rmdir(parent, 'empty'),
      rename: client.rename(parent, 'file', parent, 'x'),
      renameOver: client.rename(parent, 'file', parent, 'empty'),
      rename2: client.rename2(parent, 'file', parent, 'x', 1),
      openToWrite: client.open(file, O_WRONLY),
      openToReadAndWrite: client.open(file, O_RDWR),
      openToAppend: client.open(file, O_WRONLY | O_APPEND),
      openToTruncate: client.open(file, O_RDONLY | O_TRUNC),
      truncate: client.setattr(file, { size: 0 }),
      truncateByHandle: client.setattr(file, { size: 0, fh }),
      utimens: client.setattr(file, { mtime: 1 }),
      utimensOfDirectory: client.setattr(parent, { mtime: 1 }),
      utimensOfRoot: client.setattr(await served().nodeid('m'), { mtime: 'now' }),
      chmod: client.setattr(file, { mode: 0o777 }),
      chown: client.setattr(file, { uid: 1 }),
    }
    for (const [what, attempt] of Object.entries(attempts)) assert.equal(await codeOf(attempt), 'EROFS', what)
    assert.equal(await codeOf(client.write(file, fh, 0, Buffer.from('x'))), 'EBADF')
    assert.equal(await codeOf(client.fallocate(file, fh, 0, 1)), 'EBADF')
    await client.flush(file, fh)
    await client.fsync(file, fh)
    await client.release(file, fh)
    await client.syncfs()
    assert.deepEqual(await served().view.paths(), before)
    assert.equal((await served().view.read('kept/file'))?.toString(), 'contents')
  })
})

describeStores('links and special files', {}, (served) => {
  it('cannot be made: EPERM, and the guest is told nothing that it could believe', async () => {
    const { client } = served()
    const fs = served().guestFs()
    await fs.writeFile('file', 'x')
    const parent = await served().nodeid()
    const file = await served().nodeid('m/file')
    assert.equal(await codeOf(client.symlink(parent, 'link', 'file')), 'EPERM')
    assert.equal(await codeOf(client.link(file, parent, 'hard')), 'EPERM')
    assert.deepEqual(await fs.list(), ['file'])
  })

  it('are ENOSYS where the kernel then does without: xattr, access, locks, ioctl, poll, bmap, readlink', async () => {
    const { client } = served()
    await served().guestFs().writeFile('plain', 'x')
    const file = await served().nodeid('m/plain')
    assert.equal(await codeOf(client.getxattr(file, 'security.capability')), 'ENOSYS')
    assert.equal(await codeOf(client.setxattr(file, 'user.x', Buffer.from('y'))), 'ENOSYS')
    assert.equal(await codeOf(client.listxattr(file)), 'ENOSYS')
    assert.equal(await codeOf(client.removexattr(file, 'user.x')), 'ENOSYS')
    assert.equal(await codeOf(client.access(file, 4)), 'ENOSYS')
    assert.equal(await codeOf(client.readlink(file)), 'ENOSYS')
    for (const opcode of [
      Opcode.GETLK,
      Opcode.SETLK,
      Opcode.SETLKW,
      Opcode.IOCTL,
      Opcode.POLL,
      Opcode.BMAP,
    ]) {
      const { error } = await client.request(opcode, file, ARGUMENTS, REPLY_BYTES)
      assert.equal(error, -os.constants.errno.ENOSYS, `opcode ${opcode}`)
    }
  })
})
