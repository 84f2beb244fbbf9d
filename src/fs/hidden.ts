/**
 * Open files without a name: they live on in the mount's hidden directory until their last handle is released. A file that
 * a rename replaces is hidden before the rename; until that has succeeded its contents still belong to its name, and if it
 * fails they go back there (`moveOverOpen`).
 */
import { StorageError } from '../backends/storage-error.js'
import { noteChange } from './create.js'
import type { FileSystem } from './file-system.js'
import type { Inode } from './inode.js'
import type { Mount } from './mount.js'
import { moveStored } from './move-stored.js'

/** Hidden files of a mount that are remembered to be erased; more than a guest has open while a store is away. */
const MAX_LEFTOVERS = 100_000

/** The name no longer leads to the inode. */
export function removeName(parent: Inode, name: string, inode: Inode): void {
  noteChange(parent)
  inode.isUnlinked = true
  parent.removeChild(name, inode)
  parent.addNegative(name, performance.now(), parent.mount.changeCount)
}

/** Move an open file's data to the hidden directory, where its handles go on using it. */
export function hide(inode: Inode): Promise<void> {
  const { mount } = inode
  return moveWhenIdle(inode, async () => {
    const { parent, name } = inode
    const hiddenName = mount.newHiddenName()
    if (inode.mayBeStored) {
      await moveStored(inode, mount.hiddenDirectory.pathOf(hiddenName))
    }
    if (parent !== null) removeName(parent, name, inode)
    inode.parent = mount.hiddenDirectory
    inode.name = hiddenName
    if (inode.displacedFrom === null) await inode.content?.forgetStaged()
  })
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
      await inode.content?.cancel()
      await mount.guard.move([inode], async () => {
        if (inode.mayBeStored) await mount.backend.removeFile(inode.path())
      })
    } catch (error) {
      if (mount.leftovers.size < MAX_LEFTOVERS) mount.leftovers.add(inode.path())
      throw error
    }
  })
}

/**
 * Run `move`, which puts something else at the name of the open file `target`. If it fails and the name is free, `target`
 * gets it back: at once or, where the store is away by then, when it answers again.
 */
export async function moveOverOpen(fs: FileSystem, target: Inode, move: () => Promise<void>): Promise<void> {
  const { parent, name, mount } = target
  if (parent === null) return move()
  await fs.inodes.hold([target, parent], async () => {
    target.displacedFrom = { parent, name }
    try {
      await hide(target)
    } catch (error) {
      target.displacedFrom = null
      throw error
    }
    try {
      await move()
    } catch (error) {
      mount.displaced.add(target)
      target.pins++
      parent.pins++
      if (!(await putBack(fs, target))) {
        const names = { hidden: target.path(), name: parent.pathOf(name) }
        fs.logger.error(names, 'a rename failed; the file that it was to replace gets its name back later')
      }
      throw error
    }
    await forget(fs, target)
  })
}

/** Give back their names to files that failed renames have hidden. Never rejects. */
export async function putBackDisplaced(fs: FileSystem, mount: Mount): Promise<void> {
  if (mount.isPuttingBack) return
  mount.isPuttingBack = true
  for (const inode of mount.displaced) {
    const parent = inode.displacedFrom?.parent
    if (parent !== undefined && !(await parent.change(() => putBack(fs, inode)))) break
  }
  mount.isPuttingBack = false
}

/** False when the store does not let us yet. The caller changes the names of the directory. Never rejects. */
async function putBack(fs: FileSystem, inode: Inode): Promise<boolean> {
  const { mount, displacedFrom } = inode
  if (displacedFrom === null) return true
  const { parent, name } = displacedFrom
  try {
    await moveWhenIdle(inode, async () => {
      if (!(await isFree(parent, name, inode.mayBeStored))) return
      if (inode.mayBeStored) await moveStored(inode, parent.pathOf(name))
      noteChange(parent)
      inode.isUnlinked = false
      parent.addChild(name, inode, mount.changeCount)
      parent.noteStored(name, performance.now())
    })
  } catch {
    return false
  }
  await forget(fs, inode)
  letGo(fs, inode, parent)
  return true
}

function letGo(fs: FileSystem, inode: Inode, parent: Inode): void {
  inode.mount.displaced.delete(inode)
  for (const held of [inode, parent]) {
    held.pins--
    fs.inodes.freeIfUnused(held)
  }
}

/** The mount comes to its end: what has not got its name back by now stays in the hidden directory. */
export function abandonDisplaced(fs: FileSystem, mount: Mount): void {
  for (const inode of mount.displaced) {
    if (inode.displacedFrom !== null) letGo(fs, inode, inode.displacedFrom.parent)
  }
}

/** The rename may have been done for all its error, or somebody else has taken the name: then what is there stays. */
async function isFree(parent: Inode, name: string, isStored: boolean): Promise<boolean> {
  if (parent.isUnlinked || parent.children?.has(name) === true) return false
  return !isStored || (await parent.mount.backend.stat(parent.pathOf(name))) === null
}

/** It is known whose the name is. What has none and is not open any more goes; if not now, then as one of the leftovers. */
async function forget(fs: FileSystem, inode: Inode): Promise<void> {
  inode.displacedFrom = null
  if (!inode.isUnlinked) return
  await inode.content?.forgetStaged()
  if (inode.handles === 0) await eraseHidden(fs, inode).catch(() => undefined)
}

/**
 * Erase the hidden files whose store was away when they were closed, and what the backend could not end then: one after the
 * other, until one fails again. Never rejects.
 */
export async function eraseLeftovers(mount: Mount): Promise<void> {
  if (mount.isErasingLeftovers || (mount.leftovers.size === 0 && mount.backend.hasLeftovers !== true)) return
  mount.isErasingLeftovers = true
  try {
    for (const path of mount.leftovers) {
      await mount.backend.removeFile(path).catch((error: unknown) => {
        if (!(error instanceof StorageError) || error.errno !== 'ENOENT') throw error
      })
      mount.leftovers.delete(path)
    }
    if (mount.backend.hasLeftovers === true) await mount.backend.removeLeftovers?.()
  } catch {
    // Still away, or it refuses: the next time.
  } finally {
    mount.isErasingLeftovers = false
  }
}
