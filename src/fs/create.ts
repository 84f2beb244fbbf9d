import type { FileSystem } from './file-system.js'
import { requireNewName } from './access.js'
import { FsError } from './fs-error.js'
import { Inode } from './inode.js'
import { lookup, requireDirectory } from './lookup.js'

/** Put a new, empty file into the tree; the store hears of it when it is committed. */
function addFile(fs: FileSystem, parent: Inode, name: string): Inode {
  const { mount } = parent
  const inode = new Inode(mount, parent, name, 'file')
  inode.mayBeStored = false
  noteChange(parent)
  parent.addChild(name, inode, mount.changeCount)
  fs.contentOf(inode)
  return inode
}

/** A name in `directory` is being changed: what the store listed is no longer the truth, and running answers are old. */
export function noteChange(directory: Inode): void {
  directory.mount.changeCount++
  directory.listing = null
  directory.touch()
}

/**
 * The file `name`, made when it is not there. EEXIST when it is and `exclusive`; EISDIR when it is a directory. The
 * second value tells whether it was made. At once when the name is known to be missing.
 */
export function createFile(
  fs: FileSystem,
  parent: Inode,
  name: string,
  exclusive: boolean,
): Inode | Promise<Inode> {
  requireDirectory(parent)
  requireNewName(parent, name)
  if (parent.isQuiet && !parent.children?.has(name) && parent.isKnownMissing(name, performance.now())) {
    return addFile(fs, parent, name)
  }
  return parent.change(async () => {
    const present = await lookup(fs, parent, name)
    if (present === null) return addFile(fs, parent, name)
    if (exclusive) throw new FsError('EEXIST')
    if (present.isDirectory) throw new FsError('EISDIR')
    return present
  })
}

/** MKNOD of a regular file: no handle will commit it, so it is stored at once. */
export function makeFile(fs: FileSystem, parent: Inode, name: string): Promise<Inode> {
  requireDirectory(parent)
  requireNewName(parent, name)
  return parent.change(async () => {
    if ((await lookup(fs, parent, name)) !== null) throw new FsError('EEXIST')
    const inode = addFile(fs, parent, name)
    inode.pins++
    try {
      if (!fs.options.writeBack) await fs.contentOf(inode).commit()
    } catch (error) {
      inode.content?.discard()
      parent.removeChild(name, inode)
      throw error
    } finally {
      inode.pins--
    }
    return inode
  })
}

export function makeDirectory(fs: FileSystem, parent: Inode, name: string): Promise<Inode> {
  requireDirectory(parent)
  requireNewName(parent, name)
  const { mount } = parent
  return parent.change(async () => {
    if ((await lookup(fs, parent, name)) !== null) throw new FsError('EEXIST')
    try {
      await mount.guard.use(parent, () => mount.backend.createDirectory(parent.pathOf(name)))
    } catch (error) {
      // Somebody else's, or ours after all: the next look tells.
      parent.removeNegative(name)
      throw error
    }
    const inode = new Inode(mount, parent, name, 'directory')
    noteChange(parent)
    parent.addChild(name, inode, mount.changeCount)
    inode.validatedMs = performance.now()
    inode.freshUntilMs = inode.validatedMs + mount.options.expirationMs
    return inode
  })
}
