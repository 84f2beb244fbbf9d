/** Each operation on a pass-through mount, held against what the host sees in the same directory. */
import assert from 'node:assert/strict'
import { execFileSync } from 'node:child_process'
import * as host from 'node:fs'
import { join } from 'node:path'
import { after, before, describe, it } from 'node:test'
import {
  O_APPEND,
  O_CREAT,
  O_EXCL,
  O_RDONLY,
  O_RDWR,
  O_TRUNC,
  O_WRONLY,
  RENAME_EXCHANGE,
  RENAME_NOREPLACE,
  S_IFBLK,
  S_IFCHR,
  S_IFIFO,
  S_IFLNK,
  S_IFMT,
  S_IFREG,
  S_IFSOCK,
  SEEK_DATA,
  SEEK_HOLE,
  WRITE_CACHE,
} from '../../frontend/abi.js'
import { codeOf, type Attr, type FuseClient } from '../../frontend/fuse-client.js'
import { serve, type Served } from '../../support/served.js'
import { NOT_ROOT, passthroughStore } from '../../lib/passthrough/support.js'

/** A guest's user. */
const USER = { uid: 1234, gid: 2345 }
const BLOCK_BYTES = 4096

/** All that both sides tell of a file. */
function assertSame(attr: Attr, path: string): void {
  const stat = host.lstatSync(path, { bigint: true })
  const nanoseconds = (seconds: number, rest: number): bigint =>
    BigInt(seconds) * 1_000_000_000n + BigInt(rest)
  assert.equal(BigInt(attr.ino), stat.ino)
  assert.equal(BigInt(attr.size), stat.size)
  assert.equal(BigInt(attr.blocks), stat.blocks)
  assert.equal(BigInt(attr.mode), stat.mode)
  assert.equal(BigInt(attr.nlink), stat.nlink)
  assert.equal(BigInt(attr.uid), stat.uid)
  assert.equal(BigInt(attr.gid), stat.gid)
  assert.equal(BigInt(attr.rdev), stat.rdev)
  assert.equal(BigInt(attr.blksize), stat.blksize)
  assert.equal(nanoseconds(attr.mtime, attr.mtimensec), stat.mtimeNs)
  assert.equal(nanoseconds(attr.ctime, attr.ctimensec), stat.ctimeNs)
  assert.equal(nanoseconds(attr.atime, attr.atimensec), stat.atimeNs)
}

describe('pass-through', () => {
  let served: Served
  let client: FuseClient
  let root = 0
  before(async () => {
    served = await serve({ mounts: [{ store: passthroughStore({ xattr: true, directIo: true }) }] })
    client = served.client
    root = await served.nodeid()
  })
  after(() => served.close())
  const at = (...names: string[]): string => join(served.hostDirectory, ...names)
  const attrOf = async (nodeid: number): Promise<Attr> => (await client.getattr(nodeid)).attr

  it('the root is the host directory', async () => {
    assertSame(await attrOf(root), served.hostDirectory)
  })

  it('files are made, written and read, and are what the host sees', async () => {
    const data = Buffer.from('some contents\n'.repeat(10_000))
    const { entry, fh } = await client.create(root, 'file', O_RDWR | O_CREAT | O_EXCL, S_IFREG | 0o640)
    for (let done = 0; done < data.length; done += BLOCK_BYTES) {
      const part = data.subarray(done, done + BLOCK_BYTES)
      assert.equal(await client.write(entry.nodeid, fh, done, part), part.length)
    }
    assert.deepEqual(host.readFileSync(at('file')), data)
    assert.deepEqual(Buffer.from(await client.read(entry.nodeid, fh, 5, 100)), data.subarray(5, 105))
    const end = await client.read(entry.nodeid, fh, data.length - 10, BLOCK_BYTES)
    assert.equal(end.length, 10)
    assert.equal((await client.read(entry.nodeid, fh, data.length + 1, BLOCK_BYTES)).length, 0)
    await client.flush(entry.nodeid, fh)
    await client.fsync(entry.nodeid, fh)
    await client.fsync(entry.nodeid, fh, true)
    assertSame(await attrOf(entry.nodeid), at('file'))
    await client.release(entry.nodeid, fh)
    assert.equal(await codeOf(client.read(entry.nodeid, fh, 0, 1)), 'EBADF')
  })

  it('a file that the host grew and no cache holds is read whole', async () => {
    const data = Buffer.alloc(3 << 20, 'x')
    host.writeFileSync(at('large'), data)
    const fd = host.openSync(at('large'), 'r')
    host.fsyncSync(fd)
    host.closeSync(fd)
    // Out of the page cache, so that a thread reads it.
    execFileSync('dd', [`of=${at('large')}`, 'oflag=nocache', 'conv=notrunc,fdatasync', 'count=0'], {
      stdio: 'ignore',
    })
    assert.deepEqual(await served.guestFs().readFile('large'), data)
  })

  it('the mode is what the guest gave, whatever umask the daemon has', async () => {
    const umask = process.umask(0o077)
    const { entry, fh } = await client.create(root, 'mode', O_RDWR | O_CREAT, S_IFREG | 0o666)
    await client.release(entry.nodeid, fh)
    assert.equal(host.statSync(at('mode')).mode & 0o7777, 0o666)
    await client.mkdir(root, 'mode-directory', 0o1777)
    assert.equal(host.statSync(at('mode-directory')).mode & 0o7777, 0o1777)
    assert.equal(process.umask(umask), 0o077)
  })

  it('what a user makes is the user’s', { skip: NOT_ROOT }, async () => {
    const { entry, fh } = await client.create(root, 'owned', O_RDWR | O_CREAT, S_IFREG | 0o644, 0, USER)
    await client.release(entry.nodeid, fh)
    await client.mkdir(root, 'owned-directory', 0o755, 0, USER)
    await client.symlink(root, 'owned-link', 'x', USER)
    await client.mknod(root, 'owned-fifo', S_IFIFO | 0o644, 0, 0, USER)
    for (const name of ['owned', 'owned-directory', 'owned-link', 'owned-fifo']) {
      const { uid, gid } = host.lstatSync(at(name))
      assert.deepEqual({ uid, gid }, USER, name)
    }
    // And the next is root's again.
    await client.mkdir(root, 'not-owned')
    assert.equal(host.statSync(at('not-owned')).uid, 0)
  })

  it(
    'a user may make files where the guest lets him, by groups that the daemon does not know',
    { skip: NOT_ROOT },
    async () => {
      host.mkdirSync(at('of-a-group'))
      host.chownSync(at('of-a-group'), 0, 777)
      host.chmodSync(at('of-a-group'), 0o2770)
      const { nodeid } = await client.lookup(root, 'of-a-group')
      const { entry, fh } = await client.create(nodeid, 'file', O_RDWR | O_CREAT, S_IFREG | 0o640, 0, USER)
      await client.release(entry.nodeid, fh)
      await client.mkdir(nodeid, 'directory', 0o750, 0, USER)
      // The set-group-ID bit hands the group on, and to directories itself.
      assert.equal(host.statSync(at('of-a-group/file')).gid, 777)
      const directory = host.statSync(at('of-a-group/directory'))
      assert.equal(directory.gid, 777)
      assert.equal(directory.mode & 0o7777, 0o2750)
      assert.equal(directory.uid, USER.uid)
    },
  )

  it('O_EXCL, O_TRUNC and opening what is there', async () => {
    host.writeFileSync(at('there'), 'contents')
    assert.equal(await codeOf(client.create(root, 'there', O_RDWR | O_CREAT | O_EXCL)), 'EEXIST')
    const opened = await client.create(root, 'there', O_RDWR | O_CREAT)
    assert.equal(opened.entry.attr.size, 8)
    await client.release(opened.entry.nodeid, opened.fh)
    const truncated = await client.create(root, 'there', O_WRONLY | O_CREAT | O_TRUNC)
    assert.equal(truncated.entry.attr.size, 0)
    assert.equal(truncated.entry.nodeid, opened.entry.nodeid)
    await client.release(truncated.entry.nodeid, truncated.fh)
  })

  it('appends go to the end that the host knows', async () => {
    host.writeFileSync(at('log'), 'one\n')
    const { nodeid } = await client.lookup(root, 'log')
    const { fh } = await client.open(nodeid, O_WRONLY | O_APPEND)
    host.appendFileSync(at('log'), 'two\n')
    await client.write(nodeid, fh, 4, Buffer.from('three\n'), { openFlags: O_WRONLY | O_APPEND })
    assert.equal(host.readFileSync(at('log'), 'utf8'), 'one\ntwo\nthree\n')
    // The guest's page cache writes where the page is.
    await client.write(nodeid, fh, 0, Buffer.from('ONE'), {
      openFlags: O_WRONLY | O_APPEND,
      writeFlags: WRITE_CACHE,
    })
    assert.equal(host.readFileSync(at('log'), 'utf8'), 'ONE\ntwo\nthree\n')
    await client.release(nodeid, fh)
  })

  it('direct I/O', async () => {
    const fs = served.guestFs()
    const O_DIRECT = host.constants.O_DIRECT
    const data = Buffer.alloc(4 * BLOCK_BYTES, 'direct')
    const file = await fs.open('direct', O_RDWR | O_CREAT | O_DIRECT)
    assert.equal(await file.write(0, data), data.length)
    assert.deepEqual(await file.read(0, data.length), data)
    assert.equal(await codeOf(file.write(1, 'unaligned')), 'EINVAL')
    await file.close()
    assert.deepEqual(host.readFileSync(at('direct')), data)
  })

  it('symbolic links are made and read, and lead nowhere here', async () => {
    const target = '../'.repeat(20) + 'etc/passwd'
    const { nodeid, attr } = await client.symlink(root, 'link', target)
    assert.equal(attr.mode & S_IFMT, S_IFLNK)
    assert.equal(host.readlinkSync(at('link')), target)
    assert.equal(await client.readlink(nodeid), target)
    assertSame(await attrOf(nodeid), at('link'))
    const long = 'd/'.repeat(2000)
    const { nodeid: longLink } = await client.symlink(root, 'long-link', long)
    assert.equal(await client.readlink(longLink), long)
    assert.equal(await codeOf(client.symlink(root, 'too-long', 'x'.repeat(4096))), 'ENAMETOOLONG')
    assert.equal(await codeOf(client.symlink(root, 'link', 'x')), 'EEXIST')
    assert.equal(await codeOf(client.readlink(root)), 'EINVAL')
    assert.equal(await codeOf(client.open(nodeid)), 'ELOOP')
    assert.equal(await codeOf(client.lookup(nodeid, 'passwd')), 'ENOTDIR')
  })

  it('hard links are one file with one nodeid', async () => {
    const { entry, fh } = await client.create(root, 'first', O_RDWR | O_CREAT)
    await client.release(entry.nodeid, fh)
    const second = await client.link(entry.nodeid, root, 'second')
    assert.equal(second.nodeid, entry.nodeid)
    assert.equal(second.attr.nlink, 2)
    assert.equal(host.statSync(at('second')).ino, host.statSync(at('first')).ino)
    await client.unlink(root, 'first')
    assert.equal((await attrOf(entry.nodeid)).nlink, 1)
    assert.equal(await codeOf(client.link(entry.nodeid, root, 'second')), 'EEXIST')
    const { nodeid: link } = await client.symlink(root, 'to-be-linked', 'nowhere')
    await client.link(link, root, 'linked-link')
    assert.equal(host.readlinkSync(at('linked-link')), 'nowhere')
    assert.equal(await codeOf(client.link(root, root, 'a-directory')), 'EPERM')
  })

  it('special files are made and shown, and never opened', { skip: NOT_ROOT }, async () => {
    const made = [
      ['fifo', S_IFIFO, 0],
      ['socket', S_IFSOCK, 0],
      ['null', S_IFCHR, (1 << 8) | 3],
      ['large-minor', S_IFBLK, (259 << 8) | 0x34 | (0x12 << 20)],
      ['plain', S_IFREG, 0],
    ] as const
    for (const [name, type, rdev] of made) {
      const { nodeid, attr } = await client.mknod(root, name, type | 0o600, rdev)
      assert.equal(attr.mode, type | 0o600, name)
      assert.equal(attr.rdev, rdev, name)
      assertSame(attr, at(name))
      if (type !== S_IFREG) assert.equal(await codeOf(client.open(nodeid, O_RDWR)), 'EACCES', name)
    }
  })

  it('mode, owner and times are the host’s to keep', { skip: NOT_ROOT }, async () => {
    host.writeFileSync(at('attributes'), 'x')
    const { nodeid } = await client.lookup(root, 'attributes')
    await client.setattr(nodeid, { mode: 0o4751 })
    assert.equal(host.statSync(at('attributes')).mode & 0o7777, 0o4751)
    await client.setattr(nodeid, { uid: 5, gid: 6 })
    // As of any file that changes hands.
    assert.equal(host.statSync(at('attributes')).mode & 0o7777, 0o751)
    assert.equal((await client.setattr(nodeid, { gid: 8 })).uid, 5)
    const changed = await client.setattr(nodeid, { atime: 1_000_000_000.25, mtime: -5.5 })
    assert.equal(changed.atimensec, 250_000_000)
    assertSame(changed, at('attributes'))
    assert.equal(host.statSync(at('attributes'), { bigint: true }).mtimeNs, -5_500_000_000n)
    await client.setattr(nodeid, { mtime: 'now' })
    assert.ok(Date.now() - host.statSync(at('attributes')).mtimeMs < 60_000)
    const { nodeid: link } = await client.symlink(root, 'timed-link', 'attributes')
    await client.setattr(link, { mtime: 12_345, uid: 9 })
    assert.equal(host.lstatSync(at('timed-link')).mtimeMs, 12_345_000)
    assert.equal(host.lstatSync(at('timed-link')).uid, 9)
    assert.notEqual(host.statSync(at('attributes')).mtimeMs, 12_345_000)
  })

  it('truncation by path and by handle', async () => {
    host.writeFileSync(at('size'), 'contents')
    const { nodeid } = await client.lookup(root, 'size')
    assert.equal((await client.setattr(nodeid, { size: 3 })).size, 3)
    const { fh } = await client.open(nodeid, O_RDWR)
    assert.equal((await client.setattr(nodeid, { size: 10_000, fh })).size, 10_000)
    assert.equal(host.statSync(at('size')).size, 10_000)
    assert.equal(await codeOf(client.setattr(nodeid, { size: 2n ** 63n })), 'EFBIG')
    assert.equal(await codeOf(client.setattr(root, { size: 0 })), 'EISDIR')
    await client.release(nodeid, fh)
  })

  it('fallocate, holes and copies', async () => {
    const { entry, fh } = await client.create(root, 'sparse', O_RDWR | O_CREAT)
    const { nodeid } = entry
    await client.write(nodeid, fh, 1 << 20, Buffer.from('data'))
    assert.equal(await client.lseek(nodeid, fh, 0, SEEK_DATA), 1 << 20)
    assert.equal(await client.lseek(nodeid, fh, 0, SEEK_HOLE), 0)
    assert.equal(await codeOf(client.lseek(nodeid, fh, 2 << 20, SEEK_DATA)), 'ENXIO')
    await client.fallocate(nodeid, fh, 0, 1 << 20)
    assert.ok(host.statSync(at('sparse')).blocks * 512 >= 1 << 20)
    const FALLOC_FL_PUNCH_HOLE_KEEP_SIZE = 3
    await client.fallocate(nodeid, fh, 0, 1 << 20, FALLOC_FL_PUNCH_HOLE_KEEP_SIZE)
    assert.ok(host.statSync(at('sparse')).blocks * 512 < 1 << 20)
    const other = await client.create(root, 'copy', O_RDWR | O_CREAT)
    const copied = await client.copyFileRange(
      { nodeid, fh, offset: 1 << 20 },
      { nodeid: other.entry.nodeid, fh: other.fh, offset: 2 },
      100,
    )
    assert.equal(copied, 4)
    assert.equal(host.readFileSync(at('copy'), 'latin1'), '\0\0data')
    await client.release(nodeid, fh)
    await client.release(other.entry.nodeid, other.fh)
  })

  it('an open file outlives its name', async () => {
    const { entry, fh } = await client.create(root, 'unlinked', O_RDWR | O_CREAT)
    await client.unlink(root, 'unlinked')
    await client.write(entry.nodeid, fh, 0, Buffer.from('still here'))
    assert.equal(Buffer.from(await client.read(entry.nodeid, fh, 0, 100)).toString(), 'still here')
    assert.equal((await attrOf(entry.nodeid)).nlink, 0)
    assert.equal(await codeOf(client.link(entry.nodeid, root, 'again')), 'ENOENT')
    await client.release(entry.nodeid, fh)
    assert.equal(await codeOf(client.lookup(root, 'unlinked')), 'ENOENT')
  })

  it('O_TMPFILE: a file without a name, which may get one', async () => {
    const { entry, fh } = await client.tmpfile(root, O_RDWR, S_IFREG | 0o600, NOT_ROOT === false ? USER : {})
    assert.equal(entry.attr.nlink, 0)
    await client.write(entry.nodeid, fh, 0, Buffer.from('nameless'))
    await client.link(entry.nodeid, root, 'named')
    assert.equal(host.readFileSync(at('named'), 'utf8'), 'nameless')
    assert.equal(host.statSync(at('named')).mode & 0o7777, 0o600)
    await client.release(entry.nodeid, fh)
  })

  it('rename, with its flags', async () => {
    const fs = served.guestFs()
    host.mkdirSync(at('r'))
    host.writeFileSync(at('r/a'), 'a')
    host.writeFileSync(at('r/b'), 'b')
    const { nodeid } = await client.lookup(root, 'r')
    const rename = (from: string, to: string, flags = 0): Promise<string> =>
      codeOf(client.rename2(nodeid, from, nodeid, to, flags))
    assert.equal(await rename('a', 'b', RENAME_NOREPLACE), 'EEXIST')
    assert.equal(await rename('a', 'b', RENAME_EXCHANGE), 'OK')
    assert.equal(await fs.readText('r/a'), 'b')
    assert.equal(await rename('a', 'b'), 'OK')
    assert.equal(await rename('a', 'c'), 'ENOENT')
    assert.equal(await rename('b', 'c', 1 << 7), 'EINVAL')
    host.mkdirSync(at('r/full'))
    host.writeFileSync(at('r/full/x'), '')
    host.mkdirSync(at('r/empty'))
    assert.equal(await rename('empty', 'full'), 'ENOTEMPTY')
    assert.equal(await rename('b', 'empty'), 'EISDIR')
    assert.equal(await rename('empty', 'b'), 'ENOTDIR')
    assert.equal(await codeOf(client.rename(root, 'r', nodeid, 'inside')), 'EINVAL')
    assert.equal(await codeOf(client.rmdir(nodeid, 'full')), 'ENOTEMPTY')
    assert.equal(await codeOf(client.rmdir(nodeid, 'b')), 'ENOTDIR')
    assert.equal(await codeOf(client.unlink(nodeid, 'empty')), 'EISDIR')
    assert.equal(await codeOf(client.rmdir(nodeid, 'empty')), 'OK')
    assert.equal(host.existsSync(at('r/empty')), false)
  })

  it('a directory that is moved keeps its nodeid, and what was looked up in it', async () => {
    const fs = served.guestFs()
    host.mkdirSync(at('moving/below'), { recursive: true })
    const below = await served.nodeid('m/moving/below')
    await fs.rename('moving', 'moved')
    await client.mkdir(below, 'made')
    assert.ok(host.existsSync(at('moved/below/made')))
    assert.equal(await served.nodeid('m/moved/below'), below)
  })

  it('extended attributes', async () => {
    host.writeFileSync(at('xattr'), '')
    const { nodeid } = await client.lookup(root, 'xattr')
    const value = Buffer.alloc(3000, 'value')
    await client.setxattr(nodeid, 'user.name', value)
    assert.deepEqual(Buffer.from(await client.getxattr(nodeid, 'user.name')), value)
    assert.equal(await client.getxattrSize(nodeid, 'user.name'), 3000)
    assert.equal(await codeOf(client.getxattr(nodeid, 'user.name', 100)), 'ERANGE')
    assert.equal(await codeOf(client.getxattr(nodeid, 'user.other')), 'ENODATA')
    assert.equal(await codeOf(client.setxattr(nodeid, 'user.name', value, 1)), 'EEXIST')
    assert.equal(await codeOf(client.setxattr(nodeid, 'user.other', value, 2)), 'ENODATA')
    await client.setxattr(nodeid, 'user.empty', Buffer.alloc(0))
    assert.deepEqual((await client.listxattr(nodeid)).sort(), ['user.empty', 'user.name'])
    assert.equal(await codeOf(client.listxattr(nodeid, 3)), 'ERANGE')
    await client.removexattr(nodeid, 'user.name')
    assert.deepEqual(await client.listxattr(nodeid), ['user.empty'])
    assert.equal(await codeOf(client.removexattr(nodeid, 'user.name')), 'ENODATA')
    assert.equal(await codeOf(client.setxattr(nodeid, 'user.huge', Buffer.alloc(70_000))), 'E2BIG')
    assert.equal(await codeOf(client.getxattr(nodeid, 'system.posix_acl_access')), 'EOPNOTSUPP')
    // Others answer EOPNOTSUPP: after ENOSYS the guest would never ask here again.
    assert.equal(await codeOf(client.getxattr(1, 'user.name')), 'EOPNOTSUPP')
  })

  it('listings, page by page and with attributes', async () => {
    const names = Array.from({ length: 500 }, (_, index) => `entry-${'x'.repeat(index % 200)}${index}`)
    host.mkdirSync(at('many'))
    for (const name of names) host.writeFileSync(at('many', name), name)
    host.mkdirSync(at('many/directory'))
    const all = [...names, 'directory'].sort()
    for (const readdirBytes of [4096, 512, 100_000]) {
      const fs = served.guestFs('m/many', { readdirBytes })
      assert.deepEqual((await fs.list()).sort(), all)
      const entries = await fs.listWithAttributes()
      assert.deepEqual([...entries.keys()].sort(), all)
      for (const [name, attr] of entries) assertSame(attr, at('many', name))
    }
    const nodeid = await served.nodeid('m/many')
    const { fh } = await client.opendir(nodeid)
    const first = await client.readdir(nodeid, fh, 0, 4096)
    const third = first[2]
    assert.ok(third !== undefined && first.length > 4)
    assert.deepEqual((await client.readdir(nodeid, fh, third.off, 4096))[0], first[3])
    assert.equal(await codeOf(client.readdir(nodeid, fh, 0, 24)), 'EINVAL')
    await client.fsyncdir(nodeid, fh)
    await client.releasedir(nodeid, fh)
    assert.equal(await codeOf(client.readdir(nodeid, fh)), 'EBADF')
  })

  it('names of any bytes', async () => {
    for (const name of [
      Buffer.from([0xff, 0xfe, 0x41]),
      Buffer.from(' spaced '),
      Buffer.from('x'.repeat(255)),
    ]) {
      const { entry, fh } = await client.create(root, name, O_RDWR | O_CREAT)
      await client.release(entry.nodeid, fh)
      const path = Buffer.concat([Buffer.from(`${served.hostDirectory}/`), name])
      assert.ok(host.existsSync(path))
      assert.equal((await client.lookup(root, name)).nodeid, entry.nodeid)
      await client.unlink(root, name)
      assert.ok(!host.existsSync(path))
    }
    assert.equal(await codeOf(client.lookup(root, 'x'.repeat(256))), 'ENAMETOOLONG')
  })

  it('statfs is the host’s', async () => {
    const { blocks, bsize, files, namelen } = await client.statfs(root)
    const stat = host.statfsSync(served.hostDirectory)
    assert.deepEqual(
      { blocks, bsize, files, namelen },
      { blocks: stat.blocks, bsize: stat.bsize, files: stat.files, namelen: 255 },
    )
    await client.syncfs()
  })

  it('what the host does is seen', async () => {
    assert.equal(await codeOf(client.lookup(root, 'of-the-host')), 'ENOENT')
    host.writeFileSync(at('of-the-host'), 'one')
    const { nodeid } = await client.lookup(root, 'of-the-host')
    const { fh } = await client.open(nodeid, O_RDONLY)
    host.writeFileSync(at('of-the-host'), 'longer')
    assert.equal((await attrOf(nodeid)).size, 6)
    assert.equal(Buffer.from(await client.read(nodeid, fh, 0, 100)).toString(), 'longer')
    host.rmSync(at('of-the-host'))
    host.writeFileSync(at('of-the-host'), 'another file')
    assert.notEqual((await client.lookup(root, 'of-the-host')).nodeid, nodeid)
    assert.equal(Buffer.from(await client.read(nodeid, fh, 0, 100)).toString(), 'longer')
    await client.release(nodeid, fh)
  })

  it('nothing is left when the guest has gone', async () => {
    const before = served.stats().passthrough
    assert.ok(before.inodes > 1)
    await served.disconnect()
    const { maxDescriptors, ...held } = served.stats().passthrough
    assert.equal(maxDescriptors, before.maxDescriptors)
    assert.deepEqual(held, {
      inodes: 1,
      openFiles: 0,
      openDirectories: 0,
      descriptors: 1,
    })
    await served.reconnect()
    client = served.client
    root = await served.nodeid()
  })
})
