/** A pass-through mount without a server around it, and what a guest would know of it. */
import assert from 'node:assert/strict'
import * as host from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { TestContext } from 'node:test'
import { EmptyBackend } from '../../../src/backends/local/empty-backend.js'
import { GuestBudgets } from '../../../src/fs/guest-budgets.js'
import { Inode } from '../../../src/fs/inode.js'
import { Mount } from '../../../src/fs/mount.js'
import { createLogger } from '../../../src/observability/logger.js'
import type { HostInode } from '../../../src/passthrough/host-inode.js'
import { PLAIN_HOST_OPTIONS, type FileHandles, type HostMount } from '../../../src/passthrough/host-mount.js'
import { lookup, type NameBytes } from '../../../src/passthrough/names.js'
import { Passthrough } from '../../../src/passthrough/passthrough.js'

export interface KnownMount {
  readonly root: string
  readonly pt: Passthrough
  readonly mount: HostMount
  /** As LOOKUP: the guest knows of it then. */
  readonly look: (name: string, directory?: HostInode) => HostInode
}

export function nameOf(text: string): NameBytes {
  const bytes = Buffer.from(text)
  return { bytes, start: 0, length: bytes.byteLength }
}

/** After the test as many descriptors are open as before. */
export function knownMount(
  t: TestContext,
  { maxDescriptors, fileHandles }: { readonly maxDescriptors: number; readonly fileHandles: FileHandles },
): KnownMount {
  const root = host.mkdtempSync(join(tmpdir(), 'ovfsd-known-'))
  const open0 = host.readdirSync('/proc/self/fd').length
  const pt = new Passthrough(
    { guestWriteback: false, maxDescriptors },
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
  pt.add(place, { ...PLAIN_HOST_OPTIONS, root, fileHandles })
  const mount = pt.find(place.root)
  assert.ok(mount !== undefined)
  const look = (name: string, directory = mount.root): HostInode => {
    const found = lookup(pt, directory, nameOf(name))
    assert.ok(found !== null && !(found instanceof Inode), name)
    found.nlookup++
    return found
  }
  return { root, pt, mount, look }
}
