/** Random changes of names, links and attributes by a guest, each done by the host in a twin directory too: both must agree. */
import assert from 'node:assert/strict'
import * as host from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { describe, it } from 'node:test'
import { O_CREAT, O_EXCL, O_WRONLY, S_IFREG, S_IFIFO } from '../../frontend/abi.js'
import { codeOf, FuseError, type Attr, type FuseClient } from '../../frontend/fuse-client.js'
import { chooseSeed, Random } from '../../lib/model/random.js'
import { serve, type Served } from '../../support/served.js'
import { hostCodeOf, passthroughStore } from '../../lib/passthrough/support.js'

const STEPS = 1500
/** Few names, so that they meet. */
const NAMES = ['a', 'b', 'c', 'd']
/** Those that are always there, as no name of a step is theirs. */
const FIXED = ['w', 'x']
const DIRECTORIES = ['', ...FIXED, 'a', 'w/a', 'x/b', 'w/a/b', 'x/b/c']
/** A guest's kernel looks names up before it acts, so some errors are its own; these are told apart nowhere. */
const SAME_ERRORS: readonly (readonly string[])[] = [
  ['ENOTEMPTY', 'EEXIST'],
  // Linux as a host says EISDIR of unlink(2) on a directory, as POSIX has it EPERM.
  ['EPERM', 'EISDIR'],
]

type Step = (
  directory: string,
  name: string,
  other: string,
  otherName: string,
) => readonly [() => Promise<unknown>, () => unknown]

class Twins {
  succeeded = 0

  constructor(
    private readonly client: FuseClient,
    private readonly root: number,
    private readonly twin: string,
    private readonly random: Random,
  ) {}

  /** As a guest's kernel walks: ENOTDIR where a name on the way is no directory; links are not followed. */
  async walk(path: string): Promise<number> {
    let nodeid = this.root
    for (const name of path.split('/').filter((part) => part !== '')) {
      const entry = await this.client.lookup(nodeid, name)
      if ((entry.attr.mode & 0o170000) !== 0o040000) throw FuseError.of('ENOTDIR', path)
      nodeid = entry.nodeid
    }
    return nodeid
  }

  /** The same on the host, which would follow links in the middle of a path. */
  place(directory: string, name: string): string {
    let path = this.twin
    for (const part of directory.split('/').filter((text) => text !== '')) {
      path = join(path, part)
      if (!host.lstatSync(path).isDirectory()) throw Object.assign(new Error('ENOTDIR'), { errno: -20 })
    }
    return join(path, name)
  }

  readonly steps: Record<string, Step> = {
    mkdir: (directory, name) => [
      async () => this.client.mkdir(await this.walk(directory), name, 0o750),
      () => {
        host.mkdirSync(this.place(directory, name), 0o750)
      },
    ],
    create: (directory, name) => [
      async () => {
        const parent = await this.walk(directory)
        const { entry, fh } = await this.client.create(
          parent,
          name,
          O_WRONLY | O_CREAT | O_EXCL,
          S_IFREG | 0o640,
        )
        await this.client.write(entry.nodeid, fh, 0, Buffer.from(`${directory}/${name}`))
        await this.client.release(entry.nodeid, fh)
      },
      () => {
        const fd = host.openSync(this.place(directory, name), 'wx', 0o640)
        host.writeSync(fd, `${directory}/${name}`)
        host.closeSync(fd)
      },
    ],
    symlink: (directory, name, other) => [
      async () => this.client.symlink(await this.walk(directory), name, `/${other}`),
      () => {
        host.symlinkSync(`/${other}`, this.place(directory, name))
      },
    ],
    link: (directory, name, other, otherName) => [
      async () => {
        const { nodeid, attr } = await this.client.lookup(await this.walk(directory), name)
        const parent = await this.walk(other)
        // What vfs_link refuses of itself.
        if (
          (attr.mode & 0o170000) === 0o040000 &&
          (await codeOf(this.client.lookup(parent, otherName))) === 'ENOENT'
        )
          throw FuseError.of('EPERM', 'a directory')
        await this.client.link(nodeid, parent, otherName)
      },
      () => {
        const from = this.place(directory, name)
        host.lstatSync(from)
        host.linkSync(from, this.place(other, otherName))
      },
    ],
    unlink: (directory, name) => [
      async () => this.client.unlink(await this.walk(directory), name),
      () => {
        host.unlinkSync(this.place(directory, name))
      },
    ],
    rmdir: (directory, name) => [
      async () => this.client.rmdir(await this.walk(directory), name),
      () => {
        host.rmdirSync(this.place(directory, name))
      },
    ],
    rename: (directory, name, other, otherName) => [
      async () => {
        const [from, to] = [await this.walk(directory), await this.walk(other)]
        await this.client.rename(from, name, to, otherName)
      },
      () => {
        const [from, to] = [this.place(directory, name), this.place(other, otherName)]
        host.renameSync(from, to)
      },
    ],
    mkfifo: (directory, name) => [
      async () => this.client.mknod(await this.walk(directory), name, S_IFIFO | 0o600),
      () => {
        // There is no mkfifo in Node.js: the twin has a socket's place taken by a file of that mode.
        const fd = host.openSync(this.place(directory, name), 'wx', 0o600)
        host.closeSync(fd)
      },
    ],
    chmod: (directory, name) => [
      async () => {
        const { nodeid, attr } = await this.client.lookup(await this.walk(directory), name)
        if ((attr.mode & 0o170000) === 0o120000) throw FuseError.of('EOPNOTSUPP', 'a link')
        await this.client.setattr(nodeid, { mode: 0o711 })
      },
      () => {
        const path = this.place(directory, name)
        if (host.lstatSync(path).isSymbolicLink()) throw Object.assign(new Error('a link'), { errno: -95 })
        host.chmodSync(path, 0o711)
      },
    ],
  }

  async step(index: number): Promise<void> {
    const names = Object.keys(this.steps)
    const kind = this.random.pick(names)
    const [directory, other] = [this.random.pick(DIRECTORIES), this.random.pick(DIRECTORIES)]
    const [name, otherName] = [this.random.pick(NAMES), this.random.pick(NAMES)]
    const [guest, twin] = this.steps[kind]?.(directory, name, other, otherName) ?? []
    assert.ok(guest !== undefined && twin !== undefined)
    const expected = hostCodeOf(twin)
    const got = await codeOf(guest())
    const what = `step ${index}: ${kind} ${directory}/${name} ${other}/${otherName}`
    const isSame =
      got === expected || SAME_ERRORS.some((group) => group.includes(got) && group.includes(expected))
    if (got === 'OK') this.succeeded++
    assert.ok(isSame, `${what}: ${got}, but the host says ${expected}`)
  }
}

/** All names below, with what counts. FIFOs stand as files, as in the twin. */
function shape(root: string): string[] {
  const found: string[] = []
  for (const entry of host.readdirSync(root, { recursive: true, withFileTypes: true })) {
    const path = join(entry.parentPath, entry.name)
    const { mode, nlink, size } = host.lstatSync(path)
    const kind = entry.isSymbolicLink() ? 'link' : entry.isDirectory() ? 'directory' : 'file'
    const detail = kind === 'link' ? host.readlinkSync(path) : kind === 'file' ? size : nlink
    const links = kind === 'file' ? nlink : 0
    found.push([path.slice(root.length), kind, (mode & 0o7777).toString(8), links, detail].join(' '))
  }
  return found.sort()
}

async function guestShape(served: Served, path = ''): Promise<string[]> {
  const fs = served.guestFs()
  const found: string[] = []
  const entries: Map<string, Attr> = await fs.listWithAttributes(path)
  for (const [name, attr] of entries) {
    const here = path === '' ? name : `${path}/${name}`
    const stat = host.lstatSync(join(served.hostDirectory, here))
    assert.deepEqual([attr.mode, attr.nlink, attr.size], [stat.mode, stat.nlink, stat.size], here)
    found.push(`/${here}`)
    if (stat.isDirectory()) found.push(...(await guestShape(served, here)))
  }
  return found
}

describe('a random guest on a pass-through mount', () => {
  it('does what the host does', async (t) => {
    const seed = chooseSeed()
    t.diagnostic(`OVFSD_SEED=${seed}`)
    const served = await serve({ mounts: [{ store: passthroughStore() }] })
    const twin = host.mkdtempSync(join(tmpdir(), 'ovfsd-twin-'))
    const umask = process.umask(0)
    try {
      const twins = new Twins(served.client, await served.nodeid(), twin, new Random(seed))
      for (const name of FIXED)
        for (const root of [twin, served.hostDirectory]) host.mkdirSync(join(root, name), 0o755)
      for (let step = 0; step < STEPS; step++) {
        await twins.step(step)
        if (step % 100 === 99) assert.deepEqual(shape(served.hostDirectory), shape(twin), `seed ${seed}`)
      }
      // Else the names hardly ever meet, and nothing was tried. A fifth of the steps does as a rule, a tenth with some seeds.
      assert.ok(twins.succeeded > STEPS / 20, `only ${twins.succeeded} steps did something`)
      const names = shape(twin).map((line) => line.slice(0, line.indexOf(' ')))
      assert.deepEqual((await guestShape(served)).sort(), names.sort())
      await served.disconnect()
      assert.equal(served.stats().passthrough.descriptors, 1)
    } catch (error) {
      throw new Error(`OVFSD_SEED=${seed}`, { cause: error })
    } finally {
      process.umask(umask)
      await served.close()
      host.rmSync(twin, { recursive: true, force: true })
    }
  })
})
