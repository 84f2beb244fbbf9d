/** The descriptors that a guest may hold by what it looks up and opens. */
import assert from 'node:assert/strict'
import * as host from 'node:fs'
import { join } from 'node:path'
import { it } from 'node:test'
import { FsError } from '../../../src/fs/fs-error.js'
import { create, open, release } from '../../../src/passthrough/files.js'
import type { HostInode } from '../../../src/passthrough/host-inode.js'
import { knownMount, nameOf } from '../../lib/passthrough/known-mount.js'

const LIMIT = 10

it('a guest that holds too many is told ENFILE, and goes on when it lets some go', (t) => {
  const { root, pt, mount, look } = knownMount(t, { maxDescriptors: LIMIT, fileHandles: 'never' })
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
