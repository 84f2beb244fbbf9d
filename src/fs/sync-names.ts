/** fsync of directories, for stores that have changes of names in memory until they are asked: see `Backend.syncNames`. */
import type { FileSystem } from './file-system.js'
import type { Inode } from './inode.js'

/** Of one directory. A path that changes meanwhile is a change that comes later. */
export async function syncNames(inode: Inode): Promise<void> {
  if (!inode.isUnlinked) await inode.mount.backend.syncNames?.(inode.path())
}

/** Of all mounts. Returns how many could not be synced. */
export async function syncAllNames({ mounts, logger }: FileSystem): Promise<number> {
  const answers = await Promise.allSettled(mounts.mounts.map(async ({ backend }) => backend.syncNames?.()))
  const failed = answers.filter((answer) => answer.status === 'rejected')
  for (const { reason } of failed)
    logger.warn({ err: reason as unknown }, 'changes of names could not be synced')
  return failed.length
}
