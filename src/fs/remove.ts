import { listPageOf } from '../backends/list-page.js'
import { requireNotFixed, requireWritable } from './access.js'
import { changeNames } from './create.js'
import type { FileSystem } from './file-system.js'
import { FsError } from './fs-error.js'
import { endName, hide } from './silly-rename.js'
import type { Inode } from './inode.js'
import { lookup, requireDirectory } from './lookup.js'
import { removeFor } from './removed.js'

/** Remove a file's name. A file that is open lives on, hidden, until its last handle is released. */
export function unlink(fs: FileSystem, parent: Inode, name: string): Promise<void> {
  requireDirectory(parent)
  requireWritable(parent)
  return changeNames(fs, parent, async () => {
    const inode = await lookup(fs, parent, name)
    if (inode === null) throw new FsError('ENOENT')
    requireNotFixed(inode)
    if (inode.isDirectory) throw new FsError('EISDIR')
    await fs.inodes.hold([inode], () => (inode.handles > 0 ? hide(fs, inode) : erase(inode)))
  })
}

/** Delete the file where it is stored, and then all that is here of it: after an error it is what it was. */
async function erase(inode: Inode): Promise<void> {
  const { content } = inode
  inode.isErasing = true
  try {
    // A commit beside the removal would bring the file back.
    if (content === null) await removeStored(inode)
    else await content.committer.betweenCommits(() => removeStored(inode))
  } finally {
    inode.isErasing = false
  }
}

async function removeStored(inode: Inode): Promise<void> {
  const { mount } = inode
  await mount.guard.move([inode], async () => {
    const { parent, name } = inode
    const path = inode.path()
    if (inode.mayBeStored || inode.isUncertain) {
      await removeFor(mount.backend, path, () => mount.backend.removeFile(path))
    }
    if (parent !== null) endName(parent, name, inode)
  })
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
    await fs.inodes.hold([inode], () => inode.change(() => removeStoredDirectory(parent, name, inode)))
  })
}

function removeStoredDirectory(parent: Inode, name: string, inode: Inode): Promise<void> {
  const { mount } = inode
  return mount.guard.move([inode], async () => {
    await requireEmpty(inode)
    const path = inode.path()
    await removeFor(mount.backend, path, () => mount.backend.removeDirectory(path))
    mount.unfinishedMoves.forget(path)
    endName(parent, name, inode)
  })
}

/** ENOTEMPTY when the store or the guest's own unsaved files keep the directory from being empty. */
export async function requireEmpty(directory: Inode): Promise<void> {
  for (const child of directory.children?.values() ?? []) {
    if (child.isFixed || !child.mayBeStored) throw new FsError('ENOTEMPTY')
  }
  const { backend } = directory.mount
  for (let token: string | null = null; ;) {
    const { entries, next } = await listPageOf(backend, directory.path(), token, 1)
    if (entries.length > 0) throw new FsError('ENOTEMPTY')
    if (next === null) return
    token = next
  }
}
