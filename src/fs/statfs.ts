import type { StorageUsage } from '../backends/backend.js'
import type { Inode } from './inode.js'

/** What statfs(2) says of the mount that holds the inode. */
export function statfs(inode: Inode): Promise<StorageUsage> {
  return inode.mount.backend.usage()
}
