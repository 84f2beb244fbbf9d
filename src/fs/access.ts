import { FsError } from './fs-error.js'
import type { Inode } from './inode.js'
import { isReserved } from './lookup.js'
import { checkPathLength } from './names.js'

/** EIO on a mount that was removed while the guest was using it. */
export function requireMounted(inode: Inode): void {
  if (inode.mount.isRemoved) throw new FsError('EIO', `the mount ${inode.mount.options.name} was removed`)
}

/** EROFS on a read-only mount: by its configuration, or because its store takes nothing. */
export function requireWritable(inode: Inode): void {
  const { options, backend } = inode.mount
  if (options.readOnly || !backend.capabilities.write) throw new FsError('EROFS')
}

/** The errors that a new name may meet before the store is asked: EROFS, ENOENT, EPERM, EINVAL, ENAMETOOLONG. Returns its path. */
export function requireNewName(parent: Inode, name: string): string {
  requireMounted(parent)
  requireWritable(parent)
  if (parent.isUnlinked) throw new FsError('ENOENT', 'the directory was removed')
  if (isReserved(parent, name)) throw new FsError('EPERM', `${name} is the daemon's own`)
  const { backend } = parent.mount
  const path = parent.pathOf(name)
  checkPathLength(path, backend.capabilities.maxPathBytes)
  if (!backend.accepts(path)) throw new FsError('EINVAL', 'the store cannot hold this name')
  return path
}

/** EBUSY for what the configuration put there. */
export function requireNotFixed(inode: Inode): void {
  if (inode.isFixed) throw new FsError('EBUSY', 'a mount point')
}

/** EFBIG for a file longer than its store takes. */
export function requireFits(inode: Inode, sizeBytes: number): void {
  if (sizeBytes > inode.mount.backend.capabilities.maxFileBytes) throw new FsError('EFBIG')
}
