import type { EntryKind, Permissions } from '../backends/backend.js'
import type { FileSystem } from './file-system.js'
import { requireNewName } from './access.js'
import { FsError } from './fs-error.js'
import { Inode } from './inode.js'
import { lookup, requireDirectory } from './lookup.js'

const S_ISGID = 0o2000
const MODE_BITS = 0o7777

/** What a new name is made with, for stores that keep it. */
export interface Creation {
  /** The umask has been taken off. */
  readonly mode: number
  /** Who makes it. */
  readonly uid: number
  readonly gid: number
}

/** The store's to keep; null where it keeps nothing. A directory with the set-group-ID bit hands on its group, and that bit to directories. */
function permissionsOf(parent: Inode, kind: EntryKind, { mode, uid, gid }: Creation): Permissions | null {
  if (!parent.mount.backend.capabilities.attributes) return null
  const handsOn = (parent.mode & S_ISGID) !== 0
  const extraBits = handsOn && kind === 'directory' ? S_ISGID : 0
  return { mode: (mode & MODE_BITS) | extraBits, uid, gid: handsOn ? parent.gid : gid }
}

/** Put a new, empty file into the tree; the store hears of it when it is committed. */
function addFile(fs: FileSystem, parent: Inode, name: string, creation: Creation): Inode {
  const { mount } = parent
  const inode = new Inode(mount, parent, name, 'file')
  inode.permissions = permissionsOf(parent, 'file', creation) ?? inode.permissions
  inode.mayBeStored = false
  noteChange(parent)
  parent.addChild(name, inode, mount.changeCount)
  fs.contentOf(inode)
  return inode
}

/** A name in `directory` is being changed: what the store listed is no longer the truth, and running answers are old. */
export function noteChange(directory: Inode): void {
  const { mount, parent } = directory
  mount.changeCount++
  directory.forgetListing()
  directory.touch()
  // What was listed above has the directory's time of before.
  if (parent?.mount === mount) parent.noteStored(directory.name, performance.now())
}

/** Run `work`, which changes names in `directory`, after those that do so before it: they may have removed the directory. */
export function changeNames<T>(fs: FileSystem, directory: Inode, work: () => Promise<T>): Promise<T> {
  return fs.inodes.hold([directory], () => directory.change(work))
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
  creation: Creation,
): Inode | Promise<Inode> {
  requireDirectory(parent)
  requireNewName(parent, name)
  const openOrMake = (present: Inode | null): Inode => {
    if (present === null) {
      fs.inodes.requireRoom()
      return addFile(fs, parent, name, creation)
    }
    if (exclusive) throw new FsError('EEXIST')
    if (present.isDirectory) throw new FsError('EISDIR')
    return present
  }
  if (parent.isQuiet) {
    const present = lookup(fs, parent, name)
    if (!(present instanceof Promise)) return openOrMake(present)
    present.catch(() => undefined)
  }
  return changeNames(fs, parent, async () => {
    requireNewName(parent, name)
    return openOrMake(await lookup(fs, parent, name))
  })
}

/** MKNOD of a regular file: no handle will commit it, so it is stored at once. */
export function makeFile(fs: FileSystem, parent: Inode, name: string, creation: Creation): Promise<Inode> {
  requireDirectory(parent)
  requireNewName(parent, name)
  return changeNames(fs, parent, async () => {
    requireNewName(parent, name)
    if ((await lookup(fs, parent, name)) !== null) throw new FsError('EEXIST')
    fs.inodes.requireRoom()
    const inode = addFile(fs, parent, name, creation)
    inode.pins++
    try {
      if (fs.options.writeBack) await fs.contentOf(inode).staged.persistLocally()
      else await fs.contentOf(inode).commit()
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

export function makeDirectory(
  fs: FileSystem,
  parent: Inode,
  name: string,
  creation: Creation,
): Promise<Inode> {
  requireDirectory(parent)
  requireNewName(parent, name)
  const { mount } = parent
  return changeNames(fs, parent, async () => {
    requireNewName(parent, name)
    if ((await lookup(fs, parent, name)) !== null) throw new FsError('EEXIST')
    fs.inodes.requireRoom()
    const inode = new Inode(mount, parent, name, 'directory')
    const permissions = permissionsOf(parent, 'directory', creation)
    inode.permissions = permissions ?? inode.permissions
    const attributes = permissions === null ? undefined : inode.attributes
    return parent.whileAppearing(name, async () => {
      try {
        await mount.guard.use(parent, () => mount.backend.createDirectory(parent.pathOf(name), attributes))
      } catch (error) {
        // Somebody else's, or ours after all: the next look tells.
        parent.removeNegative(name)
        throw error
      }
      noteChange(parent)
      parent.addChild(name, inode, mount.changeCount)
      inode.validatedMs = performance.now()
      inode.freshUntilMs = inode.validatedMs + mount.options.expirationMs
      return inode
    })
  })
}
