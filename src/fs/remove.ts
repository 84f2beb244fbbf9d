import { requireNotFixed, requireWritable } from './access.js'
import { changeNames } from './create.js'
import type { FileSystem } from './file-system.js'
import { FsError } from './fs-error.js'
import { hide, removeName } from './hidden.js'
import type { Inode } from './inode.js'
import { lookup, requireDirectory } from './lookup.js'

/** Remove a file's name. A file that is open lives on, hidden, until its last handle is released. */
export function unlink(fs: FileSystem, parent: Inode, name: string): Promise<void> {
  requireDirectory(parent)
  requireWritable(parent)
  return changeNames(fs, parent, async () => {
    const inode = await lookup(fs, parent, name)
    if (inode === null) throw new FsError('ENOENT')
    requireNotFixed(inode)
    if (inode.isDirectory) throw new FsError('EISDIR')
    await fs.inodes.hold([inode], () => (inode.handles > 0 ? hide(inode) : erase(inode)))
  })
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
