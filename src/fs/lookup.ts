import type { ObjectStat } from '../backends/backend.js'
import { RESERVED_DIRECTORY } from '../backends/backend.js'
import type { FileSystem } from './file-system.js'
import { FsError } from './fs-error.js'
import { Inode } from './inode.js'
import { checkPathLength } from './names.js'

/** ENOTDIR unless `inode` is a directory. */
export function requireDirectory(inode: Inode): Inode {
  if (!inode.isDirectory) throw new FsError('ENOTDIR')
  return inode
}

export function isReserved(parent: Inode, name: string): boolean {
  return name === RESERVED_DIRECTORY && parent === parent.mount.root
}

/**
 * What `name` leads to in `parent`, null when nothing is there. At once when we know it, else a promise: then the
 * store is asked, once for all who ask at the same time.
 */
export function lookup(fs: FileSystem, parent: Inode, name: string): Inode | null | Promise<Inode | null> {
  const child = requireDirectory(parent).children?.get(name)
  // The path of a removed directory may be another directory's by now.
  if (parent.isUnlinked || parent.mount.isRemoved) return null
  const nowMs = performance.now()
  if (child !== undefined) {
    if (child.isFresh(nowMs)) return child
  } else if (parent.isKnownMissing(name, nowMs)) {
    return null
  }
  return lookupStored(fs, parent, name)
}

function lookupStored(fs: FileSystem, parent: Inode, name: string): Promise<Inode | null> {
  const pending = parent.pendingLookups?.get(name)
  if (pending !== undefined) return pending
  const lookups = (parent.pendingLookups ??= new Map<string, Promise<Inode | null>>())
  const run = askStore(parent, name).finally(() => {
    lookups.delete(name)
    fs.inodes.freeIfUnused(parent)
  })
  lookups.set(name, run)
  return run
}

async function askStore(parent: Inode, name: string): Promise<Inode | null> {
  const { mount } = parent
  if (isReserved(parent, name)) return null
  const change = mount.changeCount
  const path = parent.pathOf(name)
  checkPathLength(path, mount.backend.capabilities.maxPathBytes)
  if (!mount.backend.accepts(path)) return null
  const stat = await mount.guard.use(parent, () => mount.backend.stat(parent.pathOf(name)))
  return adoptEntry(parent, name, stat, change)
}

/**
 * The store said `stat` of `name`, asked when the mount's change counter stood at `change`. What was changed here
 * since then is newer than the answer.
 */
export function adoptEntry(
  parent: Inode,
  name: string,
  stat: ObjectStat | null,
  change: number,
): Inode | null {
  const nowMs = performance.now()
  const child = parent.children?.get(name)
  if (child !== undefined && (child.lastChange > change || child.isFixed || child.content?.isBusy === true)) {
    return child
  }
  if (stat === null) {
    if (child !== undefined) parent.removeChild(name, child)
    parent.addNegative(name, nowMs, 0)
    return null
  }
  if ((parent.negative(name)?.change ?? 0) > change) return null
  if (child !== undefined && child.kind === stat.kind) {
    child.adopt(stat, nowMs)
    return child
  }
  if (child !== undefined) parent.removeChild(name, child)
  const inode = new Inode(parent.mount, parent, name, stat.kind)
  parent.addChild(name, inode, 0)
  parent.mount.unclaimed.add(inode)
  inode.adopt(stat, nowMs)
  return inode
}

/** Ask the store for the inode's attributes. ENOENT when it is gone. */
export async function revalidate(inode: Inode): Promise<Inode> {
  const { mount } = inode
  const change = mount.changeCount
  const stat = await mount.guard.use(inode, () => mount.backend.stat(inode.path()))
  if (inode.lastChange > change || inode.content?.isBusy === true) return inode
  if (stat === null || stat.kind !== inode.kind) {
    inode.parent?.removeChild(inode.name, inode)
    throw new FsError('ENOENT')
  }
  inode.adopt(stat, performance.now())
  return inode
}
