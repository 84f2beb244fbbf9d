import type { AttributeChanges, FileAttributes, Timestamp } from '../backends/backend.js'
import { monotonicMs } from '../backends/clock.js'
import { StorageError } from '../backends/storage-error.js'
import { timestampNow } from '../backends/timestamp.js'
import type { FileContent } from '../cache/file-content.js'
import { canResizeNow, truncate } from '../cache/resizing.js'
import type { FileSystem } from './file-system.js'
import { FsError } from './fs-error.js'
import type { Inode } from './inode.js'
import { storePendingMtime } from './inode-source.js'
import { requireFits, requireWritable } from './access.js'
import { revalidate } from './lookup.js'

const PERMISSION_BITS = 0o7777

/** What SETATTR asks for; undefined = leave as it is. */
export interface SetattrChanges extends AttributeChanges {
  readonly sizeBytes?: number | undefined
}

/** The inode with attributes that are fresh. */
export function getattr(inode: Inode): Inode | Promise<Inode> {
  return inode.isFresh(monotonicMs()) ? inode : revalidate(inode)
}

/**
 * Change attributes. A size given without a handle is committed before the answer, since no close follows. What the store
 * keeps is stored before the answer too, or with contents that are yet to be stored.
 */
export async function setattr(
  fs: FileSystem,
  inode: Inode,
  changes: SetattrChanges,
  hasHandle: boolean,
): Promise<Inode> {
  requireWritable(inode)
  const isKept = inode.mount.backend.capabilities.attributes && !inode.isFixed
  if (!isKept) requireSamePermissions(inode, changes)
  if (!inode.isFresh(performance.now())) await revalidate(inode)
  if (changes.sizeBytes !== undefined) await setSize(fs, inode, changes.sizeBytes, hasHandle)
  if (isKept) await setKept(fs, inode, changes)
  else if (changes.mtime !== undefined) await setMtime(inode, changes.mtime)
  return inode
}

/** The owner and mode are the configuration's: asking for what they are already succeeds, anything else is EPERM. */
function requireSamePermissions(inode: Inode, { mode, uid, gid }: SetattrChanges): void {
  if (mode !== undefined && (mode & PERMISSION_BITS) !== inode.mode) throw new FsError('EPERM')
  if (uid !== undefined && uid !== inode.uid) throw new FsError('EPERM')
  if (gid !== undefined && gid !== inode.gid) throw new FsError('EPERM')
}

async function setSize(fs: FileSystem, inode: Inode, sizeBytes: number, hasHandle: boolean): Promise<void> {
  if (inode.isDirectory) throw new FsError('EISDIR')
  requireFits(inode, sizeBytes)
  const content = fs.contentOf(inode)
  const wasClean = !content.isBusy
  if (canResizeNow(content, sizeBytes)) content.resize(sizeBytes)
  else await truncate(content, sizeBytes)
  inode.touch()
  inode.pendingMtime = null
  if (hasHandle || inode.isDoomed) return
  if (fs.options.writeBack) {
    await content.staged.persistLocally()
    return
  }
  try {
    await content.commit()
  } catch (error) {
    // A size that was refused and told so is taken back, if nothing else was waiting to be stored. One that may be stored is not.
    const isRefused = !(error instanceof StorageError) || error.outcome === 'refused'
    if (isRefused && wasClean && inode.handles === 0) {
      content.revert()
      inode.freshUntilMs = 0
    }
    throw error
  }
}

async function setMtime(inode: Inode, mtime: Timestamp): Promise<void> {
  inode.mtime = mtime
  inode.pendingMtime = mtime
  // A file that is still to be committed takes its time along then.
  if (inode.content?.isBusy === true) await amendStaged(inode, inode.content)
  else if (!inode.isUnlinked && !inode.isFixed) await storePendingMtime(inode)
}

/** What is on the local disk tells of them too. */
function amendStaged({ mount }: Inode, content: FileContent): Promise<void> {
  return mount.account.staging === null
    ? Promise.resolve()
    : content.source.withPath((path) => content.staged.amend([path]))
}

// ---- attributes that the store keeps

async function setKept(fs: FileSystem, inode: Inode, requested: SetattrChanges): Promise<void> {
  const changes = keptChanges(requested)
  if (Object.keys(changes).length === 0) return
  if (inode.isDirectory) await setOfDirectory(inode, changes)
  else if (inode.isUnlinked) apply(inode, changes)
  else await setOfFile(inode, fs.contentOf(inode), changes)
}

function keptChanges({ mode, uid, gid, mtime }: SetattrChanges): AttributeChanges {
  return {
    ...(mode === undefined ? {} : { mode: mode & PERMISSION_BITS }),
    ...(uid === undefined ? {} : { uid }),
    ...(gid === undefined ? {} : { gid }),
    ...(mtime === undefined ? {} : { mtime }),
  }
}

function apply(inode: Inode, { mtime, ...changes }: AttributeChanges): void {
  const { mode, uid, gid } = inode.permissions
  inode.permissions = { mode: changes.mode ?? mode, uid: changes.uid ?? uid, gid: changes.gid ?? gid }
  inode.mtime = mtime ?? inode.mtime
  inode.ctime = timestampNow()
}

/** One after the other with the changes of its names: the last one asked for is the last one stored. */
async function setOfDirectory(inode: Inode, changes: AttributeChanges): Promise<void> {
  const { mount } = inode
  await inode.change(async () => {
    if (!inode.isUnlinked) {
      await mount.guard.use(inode, () => mount.backend.setAttributes(inode.path(), 'directory', changes))
    }
    apply(inode, changes)
    // Answers that were asked for before are older.
    inode.validatedMs = performance.now()
  })
}

async function setOfFile(inode: Inode, content: FileContent, changes: AttributeChanges): Promise<void> {
  const before = inode.attributes
  apply(inode, changes)
  inode.unsavedAttributes = { ...inode.unsavedAttributes, ...changes }
  content.attributesChanged()
  // Contents that are yet to be stored take the attributes along.
  if (content.hasUnsavedData) return amendStaged(inode, content)
  try {
    await content.commit()
  } catch (error) {
    // Refused and told so: it is taken back, save what was changed once more meanwhile.
    takeBack(inode, changes, before)
    content.attributesReverted()
    throw error
  }
}

function takeBack(inode: Inode, changes: AttributeChanges, before: FileAttributes): void {
  const { attributes: present, unsavedAttributes } = inode
  const isLast = (name: keyof AttributeChanges): boolean =>
    changes[name] !== undefined && changes[name] === present[name]
  const { mtime, ...permissions } = before
  inode.permissions = {
    mode: isLast('mode') ? permissions.mode : present.mode,
    uid: isLast('uid') ? permissions.uid : present.uid,
    gid: isLast('gid') ? permissions.gid : present.gid,
  }
  if (isLast('mtime')) inode.mtime = mtime
  const left = Object.entries(unsavedAttributes ?? {}).filter(
    ([name]) => !isLast(name as keyof AttributeChanges),
  )
  inode.unsavedAttributes = left.length === 0 ? null : Object.fromEntries(left)
}
