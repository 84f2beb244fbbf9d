/** What a reload of the configuration does to a mount that a guest is using: reconfigure it, or take it away. */
import { setTimeout as delay } from 'node:timers/promises'
import type { Backend } from '../backends/backend.js'
import type { FileContent } from '../cache/file-content.js'
import type { FileSystem } from './file-system.js'
import type { Inode } from './inode.js'
import type { Mount, MountOptions } from './mount.js'
import { closeDirectory } from './open-directory.js'
import { releaseFile } from './open-file.js'

/** How often a removal looks whether the guest has closed its files: seldom enough to cost nothing, and nobody waits for it. */
const POLL_MS = 20
/** A removed mount's data that its store refuses is offered again after this pause ... */
const COMMIT_RETRY_MS = 1000
/** ... for this long: past a server's restart. A store that is gone for good must not hold the pool's memory forever. */
const COMMIT_GIVE_UP_MS = 60_000

/**
 * Other options and, unless null, another way to the same store: what is under way ends on the old one, what is open
 * goes on with the new one. What is cached stays, and expires no later than the new options say.
 */
export function reconfigureMount(mount: Mount, options: MountOptions, backend: Backend | null): void {
  const before = mount.options
  const keptAttributes = mount.backend.capabilities.attributes
  mount.options = options
  if (backend !== null) mount.backend = backend
  const latestMs = performance.now() + options.expirationMs
  const keepsAttributes = mount.backend.capabilities.attributes
  forEachInode(mount, (inode) => {
    if (keepsAttributes !== keptAttributes) inode.forgetAttributes()
    inode.freshUntilMs = Math.min(inode.freshUntilMs, latestMs)
    if (options.expirationMs < before.expirationMs) inode.forgetMissing()
  })
}

/** Commit what is dirty of a mount. Returns how many files could not be. */
export async function commitMount(fs: FileSystem, mount: Mount): Promise<number> {
  const contents = [...mount.account.dirtyContents]
  const results = await Promise.allSettled(contents.map((content: FileContent) => content.commit()))
  const errors = results.filter((result) => result.status === 'rejected')
  const [first] = errors
  if (first !== undefined) {
    fs.logger.warn(
      { mount: mount.options.name, files: errors.length, err: first.reason as unknown },
      'files of a mount that is being removed could not be committed',
    )
  }
  return errors.length
}

/**
 * Let a detached mount come to its end: open files may be finished until `graceMs` are over or `hurry` is aborted, then
 * they are closed from our side; what is dirty is committed, and everything that was held for the mount is given back.
 * Never rejects. Returns the number of files whose data is lost.
 */
export async function retireMount(
  fs: FileSystem,
  mount: Mount,
  graceMs: number,
  hurry: AbortSignal,
): Promise<number> {
  await commitMount(fs, mount)
  const deadlineMs = performance.now() + graceMs
  while (isOpen(fs, mount) && performance.now() < deadlineMs && !hurry.aborted) await delay(POLL_MS)
  await closeHandles(fs, mount)
  const lost = await commitFinally(fs, mount, hurry)
  release(fs, mount)
  return lost
}

function isOpen(fs: FileSystem, mount: Mount): boolean {
  return (
    fs.files.some(({ inode }) => inode.mount === mount) ||
    fs.directories.some(({ inode }) => inode.mount === mount)
  )
}

/** As if the guest had closed them; its later use of the handles is answered with EIO. */
async function closeHandles(fs: FileSystem, mount: Mount): Promise<void> {
  for (const directory of fs.directories.revoke(({ inode }) => inode.mount === mount)) {
    closeDirectory(fs, directory)
  }
  fs.cache.closeAccount(mount.account)
  const files = fs.files.revoke(({ inode }) => inode.mount === mount)
  // releaseFile tells of its failures itself, save that of erasing an unlinked file.
  const results = await Promise.allSettled(files.map((file) => releaseFile(fs, file) ?? Promise.resolve()))
  for (const result of results) {
    if (result.status === 'rejected')
      fs.logger.error({ err: result.reason as unknown }, 'closing a file failed')
  }
}

/** Commit until nothing is dirty and no request is under way. Returns the number of files whose data is lost. */
async function commitFinally(fs: FileSystem, mount: Mount, hurry: AbortSignal): Promise<number> {
  const giveUpMs = performance.now() + COMMIT_GIVE_UP_MS
  for (;;) {
    const failed = await commitMount(fs, mount)
    // What waited for the commit may go on, and make something dirty again.
    await delay(failed > 0 && !hurry.aborted ? COMMIT_RETRY_MS : POLL_MS)
    const left = mount.account.dirtyContents.size
    if (left === 0 && mount.guard.isIdle) return 0
    // A server that stops has tried for its whole shutdown_timeout; whoever waits for it is waiting now.
    if (left > 0 && failed > 0 && (performance.now() > giveUpMs || hurry.aborted)) return fs.secureRest(mount)
  }
}

/** Blocks leave the cache; inodes leave the tree, and the table as soon as the guest forgets them. */
function release(fs: FileSystem, mount: Mount): void {
  const inodes: Inode[] = []
  forEachInode(mount, (inode) => inodes.push(inode))
  const detached = new Set([...inodes, ...fs.inodes.ofMount(mount), ...mount.unclaimed])
  mount.unclaimed.clear()
  for (const inode of detached) {
    inode.content?.staged.leave()
    inode.content?.discard()
    // A read that still waits finds nothing, and takes no more slabs.
    inode.content?.replaceBase({ sizeBytes: 0, version: '' })
    inode.content = null
    inode.children?.clear()
    inode.forgetListing()
    inode.isFixed = false
    inode.isUnlinked = true
    if (inode !== mount.root) inode.parent = mount.root
  }
  for (const inode of detached) fs.inodes.freeIfUnused(inode)
  fs.cache.forgetAccount(mount.account)
}

/** Every inode of the mount that a name leads to, its root first. */
function forEachInode(mount: Mount, visit: (inode: Inode) => void): void {
  const pending = [mount.root]
  for (let inode = pending.pop(); inode !== undefined; inode = pending.pop()) {
    visit(inode)
    for (const child of inode.children?.values() ?? []) {
      if (child.mount === mount) pending.push(child)
    }
  }
}
