import { StorageError } from '../backends/storage-error.js'
import { requireNotFixed, requireWritable } from './access.js'
import { changeNames, noteChange } from './create.js'
import type { FileSystem } from './file-system.js'
import { FsError } from './fs-error.js'
import type { Inode } from './inode.js'
import { lookup, requireDirectory } from './lookup.js'
import type { Mount } from './mount.js'

/** Hidden files of a mount that are remembered to be erased; more than a guest has open while a store is away. */
const MAX_LEFTOVERS = 100_000

/** Remove a file's name. A file that is open lives on, hidden, until its last handle is released. */
export function unlink(fs: FileSystem, parent: Inode, name: string): Promise<void> {
  requireDirectory(parent)
  requireWritable(parent)
  return changeNames(fs, parent, async () => {
    const inode = await lookup(fs, parent, name)
    if (inode === null) throw new FsError('ENOENT')
    requireNotFixed(inode)
    if (inode.isDirectory) throw new FsError('EISDIR')
    await removeInode(fs, inode)
  })
}

/** Take a file out of the tree and out of the store; hide it if it is open. */
export async function removeInode(fs: FileSystem, inode: Inode): Promise<void> {
  await fs.inodes.hold([inode], () => (inode.handles > 0 ? hide(inode) : erase(inode)))
}

/** Delete the file's data wherever it is. */
async function erase(inode: Inode): Promise<void> {
  const { mount, parent, name } = inode
  inode.isErasing = true
  try {
    await inode.content?.cancel()
    await mount.guard.move([inode], async () => {
      if (inode.mayBeStored) await mount.backend.removeFile(inode.path())
      if (parent !== null) removeName(parent, name, inode)
    })
  } finally {
    inode.isErasing = false
  }
}

/** The name no longer leads to the inode. */
export function removeName(parent: Inode, name: string, inode: Inode): void {
  noteChange(parent)
  inode.isUnlinked = true
  parent.removeChild(name, inode)
  parent.addNegative(name, performance.now(), parent.mount.changeCount)
}

/** Move an open file's data to the hidden directory, where its handles go on using it. */
async function hide(inode: Inode): Promise<void> {
  // An upload under way would put the data back under the old name.
  do while (isUploading(inode)) await inode.content?.commit()
  while (!(await moveToHidden(inode)))
}

function isUploading({ content }: Inode): boolean {
  return content !== null && content.upload !== null
}

/** False when an upload has begun meanwhile. */
function moveToHidden(inode: Inode): Promise<boolean> {
  const { mount } = inode
  return mount.guard.move([inode], async () => {
    if (isUploading(inode)) return false
    const { parent, name } = inode
    const hiddenName = mount.newHiddenName()
    if (inode.mayBeStored) {
      await mount.backend.rename(inode.path(), mount.hiddenDirectory.pathOf(hiddenName), 'file')
    }
    if (parent !== null) removeName(parent, name, inode)
    inode.parent = mount.hiddenDirectory
    inode.name = hiddenName
    return true
  })
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

/** Remove a directory; ENOTEMPTY unless it is empty. */
export function removeDirectory(fs: FileSystem, parent: Inode, name: string): Promise<void> {
  requireDirectory(parent)
  requireWritable(parent)
  return changeNames(fs, parent, async () => {
    const inode = await lookup(fs, parent, name)
    if (inode === null) throw new FsError('ENOENT')
    requireNotFixed(inode)
    requireDirectory(inode)
    const { mount } = inode
    await inode.change(() =>
      mount.guard.move([inode], async () => {
        await requireEmpty(inode)
        const path = inode.path()
        await mount.backend.removeDirectory(path)
        mount.unfinishedMoves.forget(path)
        removeName(parent, name, inode)
      }),
    )
    fs.inodes.freeIfUnused(inode)
  })
}

/** ENOTEMPTY when the store or the guest's own unsaved files keep the directory from being empty. */
export async function requireEmpty(directory: Inode): Promise<void> {
  for (const child of directory.children?.values() ?? []) {
    if (child.isFixed || !child.mayBeStored) throw new FsError('ENOTEMPTY')
  }
  const entries = await directory.mount.backend.list(directory.path())
  if (entries.length > 0) throw new FsError('ENOTEMPTY')
}
