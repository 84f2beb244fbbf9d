import type { Timestamp } from '../backends/backend.js'
import type { FileSystem } from './file-system.js'
import { FsError } from './fs-error.js'
import type { Inode } from './inode.js'
import { storePendingMtime } from './inode-source.js'
import { requireFits, requireWritable } from './access.js'
import { revalidate } from './lookup.js'

const PERMISSION_BITS = 0o7777

/** What SETATTR asks for; undefined = leave as it is. */
export interface AttributeChanges {
  readonly mode?: number | undefined
  readonly uid?: number | undefined
  readonly gid?: number | undefined
  readonly sizeBytes?: number | undefined
  readonly mtime?: Timestamp | undefined
}

/** The inode with attributes that are fresh. */
export function getattr(inode: Inode): Inode | Promise<Inode> {
  return inode.isFresh(performance.now()) ? inode : revalidate(inode)
}

/**
 * Change attributes. The owner and mode of a mount's files are the configuration's: asking for what they are already
 * succeeds, anything else is EPERM. A size given without a handle is committed before the answer, since no close
 * follows.
 */
export async function setattr(
  fs: FileSystem,
  inode: Inode,
  changes: AttributeChanges,
  hasHandle: boolean,
): Promise<Inode> {
  const { options } = inode.mount
  requireWritable(inode)
  if (changes.mode !== undefined && (changes.mode & PERMISSION_BITS) !== inode.mode)
    throw new FsError('EPERM')
  if (changes.uid !== undefined && changes.uid !== options.uid) throw new FsError('EPERM')
  if (changes.gid !== undefined && changes.gid !== options.gid) throw new FsError('EPERM')
  if (!inode.isFresh(performance.now())) await revalidate(inode)
  if (changes.sizeBytes !== undefined) await setSize(fs, inode, changes.sizeBytes, hasHandle)
  if (changes.mtime !== undefined) await setMtime(inode, changes.mtime)
  return inode
}

async function setSize(fs: FileSystem, inode: Inode, sizeBytes: number, hasHandle: boolean): Promise<void> {
  if (inode.isDirectory) throw new FsError('EISDIR')
  requireFits(inode, sizeBytes)
  const content = fs.contentOf(inode)
  const wasClean = !content.isBusy
  if (content.canResizeNow(sizeBytes)) content.resize(sizeBytes)
  else await content.truncate(sizeBytes)
  inode.touch()
  inode.pendingMtime = null
  if (hasHandle || fs.options.writeBack || inode.isUnlinked) return
  try {
    await content.commit()
  } catch (error) {
    // A size that was refused and told so is taken back, if nothing else was waiting to be stored.
    if (wasClean && inode.handles === 0) content.revert()
    throw error
  }
}

async function setMtime(inode: Inode, mtime: Timestamp): Promise<void> {
  inode.mtime = mtime
  inode.pendingMtime = mtime
  // A file that is still to be committed takes its time along then.
  if (inode.content?.isBusy === true || inode.isUnlinked || inode.isFixed) return
  await storePendingMtime(inode)
}
