/** Open files without a name: they live on in the mount's hidden directory until their last handle is released. */
import type { ObjectStat } from '../backends/backend.js'
import { StorageError } from '../backends/storage-error.js'
import { noteChange } from './create.js'
import type { FileSystem } from './file-system.js'
import { isAbandoned } from './hidden-names.js'
import type { Inode } from './inode.js'
import type { Mount } from './mount.js'
import { adoptMoved, moveStored } from './move-stored.js'
import { removeFor } from './removed.js'

/** The name no longer leads to the inode. */
export function removeName(parent: Inode, name: string, inode: Inode): void {
  noteChange(parent)
  inode.isUnlinked = true
  parent.removeChild(name, inode)
  parent.addNegative(name, performance.now(), parent.mount.changeCount)
}

/** The inode is gone with its name: nothing of it is stored any more. */
export function endName(parent: Inode, name: string, inode: Inode): void {
  removeName(parent, name, inode)
  endInode(inode)
}

function endInode(inode: Inode): void {
  inode.isGone = true
  inode.content?.removed()
}

/** Take an open file's name: its data moves to the hidden directory, where its handles go on using it. After an error all is as it was. */
export async function hide(fs: FileSystem, inode: Inode): Promise<void> {
  const { mount } = inode
  await moveWhenIdle(inode, async () => {
    const hiddenName = mount.hiddenNames.take()
    const path = inode.path()
    if (inode.mayBeStored) await moveStored(inode, mount.hiddenDirectory.pathOf(hiddenName))
    // All of it is in memory, and something of it may be stored.
    else if (inode.isUncertain) await removeFor(mount.backend, path, () => mount.backend.removeFile(path))
    loseName(inode, hiddenName)
  })
  await inode.content?.staged.forget()
  await eraseIfClosed(fs, inode)
}

/** The last handle of a file was released while it lost its name. Never rejects: what is left is erased later. */
export async function eraseIfClosed(fs: FileSystem, inode: Inode): Promise<void> {
  if (inode.handles === 0) await eraseHidden(fs, inode).catch(() => undefined)
}

/** `inode` is the hidden file `hiddenName` from now on. */
function loseName(inode: Inode, hiddenName: string): void {
  const { mount, parent, name } = inode
  if (parent !== null) removeName(parent, name, inode)
  inode.parent = mount.hiddenDirectory
  inode.name = hiddenName
}

/** Something else was renamed over the open file `inode`, of which the store has kept what its handles need: null where it had nothing. */
export function loseNameTo(inode: Inode, hiddenName: string, kept: ObjectStat | null): void {
  const [from, version] = [inode.path(), inode.baseVersion]
  loseName(inode, hiddenName)
  inode.mayBeStored = kept !== null
  if (kept === null || version === null) return
  adoptMoved(inode, { from, to: inode.path(), previousVersion: version, stat: kept })
}

/** Run `move` while nothing uses the file's path. An upload under way would put the data back under the old one. */
async function moveWhenIdle(inode: Inode, move: () => Promise<void>): Promise<void> {
  const { guard } = inode.mount
  do while (isUploading(inode)) await inode.content?.commit()
  while (!(await guard.move([inode], moveUnlessUploading)))

  async function moveUnlessUploading(): Promise<boolean> {
    // One may have begun meanwhile.
    if (isUploading(inode)) return false
    await move()
    return true
  }
}

function isUploading({ content }: Inode): boolean {
  return content !== null && content.upload !== null
}

/** The last handle of an unlinked file is gone: so is its data. */
export async function eraseHidden(fs: FileSystem, inode: Inode): Promise<void> {
  const { mount } = inode
  await fs.inodes.hold([inode], async () => {
    try {
      endInode(inode)
      await inode.content?.committer.ended()
      await mount.guard.move([inode], async () => {
        if (inode.mayBeStored) await mount.backend.removeFile(inode.path())
        inode.mayBeStored = false
      })
    } catch (error) {
      mount.noteLeftover(inode.path())
      throw error
    }
  })
}

/**
 * Erase the hidden files whose store was away when they were closed, those that killed daemons have left, and what the backend
 * could not end: one after the other, until one fails again. Never rejects.
 */
export async function eraseLeftovers(mount: Mount): Promise<void> {
  const { leftovers, backend } = mount
  const hasNone = leftovers.size === 0 && backend.hasLeftovers !== true && mount.hasLookedForAbandoned
  if (mount.isErasingLeftovers || hasNone) return
  mount.isErasingLeftovers = true
  try {
    await findAbandoned(mount)
    for (const path of leftovers) {
      await mount.backend.removeFile(path).catch((error: unknown) => {
        if (!(error instanceof StorageError) || error.errno !== 'ENOENT') throw error
      })
      leftovers.delete(path)
    }
    if (mount.backend.hasLeftovers === true) await mount.backend.removeLeftovers?.()
  } catch {
    // Still away, or it refuses: the next time.
  } finally {
    mount.isErasingLeftovers = false
  }
}

/** Once for each mount. */
async function findAbandoned(mount: Mount): Promise<void> {
  if (mount.hasLookedForAbandoned) return
  if (!mount.options.readOnly && mount.backend.capabilities.write) {
    for (const { name } of await mount.backend.list(mount.hiddenDirectory.path())) {
      if (isAbandoned(name)) mount.noteLeftover(mount.hiddenDirectory.pathOf(name))
    }
  }
  mount.hasLookedForAbandoned = true
}
