/** The descriptors that a guest may hold by what it looks up and opens. */
import assert from 'node:assert/strict'
import * as host from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { it } from 'node:test'
import { EmptyBackend } from '../../../src/backends/local/empty-backend.js'
import { FsError } from '../../../src/fs/fs-error.js'
import { Inode } from '../../../src/fs/inode.js'
import { GuestBudgets } from '../../../src/fs/guest-budgets.js'
import { Mount } from '../../../src/fs/mount.js'
import { createLogger } from '../../../src/observability/logger.js'
import { create, open, release } from '../../../src/passthrough/files.js'
import { PLAIN_HOST_OPTIONS } from '../../../src/passthrough/host-mount.js'
import type { HostInode } from '../../../src/passthrough/host-inode.js'
import { lookup, type NameBytes } from '../../../src/passthrough/names.js'
import { Passthrough } from '../../../src/passthrough/passthrough.js'

const LIMIT = 10

function nameOf(text: string): NameBytes {
  const bytes = Buffer.from(text)
  return { bytes, start: 0, length: bytes.byteLength }
}

it('a guest that holds too many is told ENFILE, and goes on when it lets some go', (t) => {
  const root = host.mkdtempSync(join(tmpdir(), 'ovfsd-descriptors-'))
  const open0 = host.readdirSync('/proc/self/fd').length
  const pt = new Passthrough(
    { guestWriteback: false, maxDescriptors: LIMIT },
    createLogger({ level: 'silent' }),
    new GuestBudgets(),
  )
  t.after(() => {
    pt.close()
    host.rmSync(root, { recursive: true, force: true })
    assert.equal(host.readdirSync('/proc/self/fd').length, open0)
  })
  const place = new Mount(
    {
      ...{ name: 'p', type: 'passthrough', mountPoint: ['p'], readOnly: false, uid: 0, gid: 0 },
      ...{ fileMode: 0, dirMode: 0, expirationMs: 1000, guestCache: 'auto' },
    },
    new EmptyBackend(),
  )
  pt.add(place, { ...PLAIN_HOST_OPTIONS, root, fileHandles: 'never' })
  const mount = pt.find(place.root)
  assert.ok(mount !== undefined)
  const look = (name: string): HostInode => {
    const found = lookup(pt, mount.root, nameOf(name))
    assert.ok(found !== null && !(found instanceof Inode))
    found.nlookup++
    return found
  }
  for (let index = 0; index < LIMIT * 2; index++) host.writeFileSync(join(root, `${index}`), '')
  const isFull = (error: unknown): boolean => error instanceof FsError && error.errno === 'ENFILE'
  const held: HostInode[] = []
  while (pt.stats().descriptors < LIMIT) held.push(look(`${held.length}`))
  const [first] = held
  assert.ok(first !== undefined)
  const before = host.readdirSync('/proc/self/fd').length
  for (let round = 0; round < 50; round++) {
    assert.throws(() => look(`${LIMIT + 1}`), isFull)
    assert.throws(() => open(pt, first, 0, true), isFull)
    assert.throws(
      () => create(pt, mount.root, nameOf('new'), 0o100, 0o644, { uid: 0, gid: 0, how: 0 }, true),
      isFull,
    )
    assert.ok(!host.existsSync(join(root, 'new')))
  }
  assert.equal(host.readdirSync('/proc/self/fd').length, before)
  // What it knows already costs none.
  assert.equal(look('0'), first)
  first.nlookup = 0
  pt.inodes.freeIfUnused(first)
  assert.ok(look(`${LIMIT + 1}`))
  const last = held.at(-1)
  assert.ok(last !== undefined)
  last.nlookup = 0
  pt.inodes.freeIfUnused(last)
  release(pt, open(pt, look('1'), 0, true))
})
