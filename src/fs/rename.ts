import type { FileContent } from '../cache/file-content.js'
import { requireNewName, requireNotFixed, requireWritable } from './access.js'
import { noteChange } from './create.js'
import type { FileSystem } from './file-system.js'
import { FsError } from './fs-error.js'
import { moveOverOpen, removeName } from './hidden.js'
import type { Inode } from './inode.js'
import { lookup, lookupStored, requireDirectory } from './lookup.js'
import { moveStored } from './move-stored.js'
import { requireEmpty } from './remove.js'

/** Flags of renameat2(2), <linux/fs.h>. */
const RENAME_NOREPLACE = 1

/**
 * Move `oldName` to `newName`, over what is there unless RENAME_NOREPLACE. EXDEV across mounts; EINVAL for
 * RENAME_EXCHANGE and other flags, which no store can do in one step.
 */
export async function rename(
  fs: FileSystem,
  oldParent: Inode,
  oldName: string,
  newParent: Inode,
  newName: string,
  flags: number,
): Promise<void> {
  requireDirectory(oldParent)
  requireDirectory(newParent)
  if ((flags & ~RENAME_NOREPLACE) !== 0) throw new FsError('EINVAL')
  if (oldParent.mount !== newParent.mount) throw new FsError('EXDEV')
  requireWritable(oldParent)
  requireNewName(newParent, newName)
  await fs.inodes.hold([oldParent, newParent], () =>
    oldParent.mount.serializeRename(() =>
      changeBoth(oldParent, newParent, async () => {
        // What came before may have removed the directory, and its path be another one's by now.
        requireNewName(newParent, newName)
        const source = await lookup(fs, oldParent, oldName)
        if (source === null) throw new FsError('ENOENT')
        const target = await lookup(fs, newParent, newName)
        if ((flags & RENAME_NOREPLACE) !== 0) await requireFree(fs, target, newParent, newName)
        if (source === target) return
        checkKinds(source, target, newParent)
        await fs.inodes.hold([source], () => moveOver(fs, source, target, newParent, newName))
      }),
    ),
  )
}

/** EEXIST where `target` or, since we last looked, something of somebody else's has the name. */
async function requireFree(fs: FileSystem, target: Inode | null, parent: Inode, name: string): Promise<void> {
  if (target !== null || (await lookupStored(fs, parent, name)) !== null) throw new FsError('EEXIST')
}

/** Renames of a mount run one by one; whoever else changes two directories, as RMDIR does, takes the one above first. */
function changeBoth<T>(one: Inode, other: Inode, work: () => Promise<T>): Promise<T> {
  if (one === other) return one.change(work)
  const [first, second] = one.isAtOrBelow(other) ? [other, one] : [one, other]
  return first.change(() => second.change(work))
}

function checkKinds(source: Inode, target: Inode | null, newParent: Inode): void {
  requireNotFixed(source)
  if (newParent.isAtOrBelow(source)) throw new FsError('EINVAL', 'a directory cannot move into itself')
  if (target === null) return
  requireNotFixed(target)
  if (source.isDirectory && !target.isDirectory) throw new FsError('ENOTDIR')
  if (!source.isDirectory && target.isDirectory) throw new FsError('EISDIR')
}

async function moveOver(
  fs: FileSystem,
  source: Inode,
  target: Inode | null,
  newParent: Inode,
  newName: string,
): Promise<void> {
  if (target === null) return move(source, null, newParent, newName)
  if (target.isDirectory) {
    await move(source, target, newParent, newName)
  } else if (target.handles > 0) {
    return moveOverOpen(fs, target, () => move(source, null, newParent, newName))
  } else {
    target.isErasing = true
    try {
      // It may have to stay, if the rename fails: so what is unsaved of it is stored, not thrown away.
      await target.content?.commit()
      await move(source, target, newParent, newName)
    } finally {
      target.isErasing = false
    }
  }
  fs.inodes.freeIfUnused(target)
}

async function move(source: Inode, replaced: Inode | null, newParent: Inode, newName: string): Promise<void> {
  do await finishUploadsBelow(source)
  while (!(await moveInStore(source, replaced, newParent, newName)))
}

/** False when an upload has begun meanwhile that knows only the old path. */
async function moveInStore(
  source: Inode,
  replaced: Inode | null,
  newParent: Inode,
  newName: string,
): Promise<boolean> {
  const { mount } = source
  return mount.guard.move(replaced === null ? [source] : [source, replaced], async () => {
    if (uploadsBelow(source).length > 0) return false
    const { parent: oldParent, name: oldName } = source
    if (oldParent === null) throw new FsError('EBUSY')
    const goesOn = mount.unfinishedMoves.has(source.path(), newParent.pathOf(newName))
    if (replaced?.isDirectory === true && !goesOn) await requireEmpty(replaced)
    await amendStagedBelow(source, newParent.pathOf(newName))
    if (source.isDirectory || source.mayBeStored) {
      await renameInStore(source, newParent, newName)
    } else if (replaced?.mayBeStored === true) {
      // The old object stays until the new file's first commit replaces it.
      source.mayBeStored = true
      source.content?.mayReplace(replaced.content?.version ?? replaced.storedVersion)
    }
    if (replaced !== null) removeName(newParent, newName, replaced)
    moveName(source, oldParent, oldName, newParent, newName)
    await amendStagedBelow(source, null)
    return true
  })
}

/** What is on the local disk follows its file: it may be at either place until the move is done. `to`: the source's new path. */
async function amendStagedBelow(source: Inode, to: string | null): Promise<void> {
  const { account } = source.mount
  if (account.staging === null) return
  const from = source.path()
  for (const content of [...account.dirtyContents].filter((dirty) => dirty.source.isAtOrBelow(source))) {
    const { path } = content.source
    await content.amendStaged(to === null ? [path] : [path, to + path.slice(from.length)])
  }
}

async function renameInStore(source: Inode, newParent: Inode, newName: string): Promise<void> {
  const { mount } = source
  const [from, to] = [source.path(), newParent.pathOf(newName)]
  try {
    await moveStored(source, to)
  } catch (error) {
    expireBelow(source)
    // No listing that is under way is kept.
    mount.changeCount++
    newParent.listing = null
    newParent.forgetWalk()
    newParent.removeNegative(newName)
    if (source.isDirectory) mount.unfinishedMoves.note(from, to)
    throw error
  }
  if (!source.isDirectory) return
  mount.unfinishedMoves.forget(from)
  mount.unfinishedMoves.forget(to)
}

/** In memory a rename is one step, whatever hangs below. */
function moveName(source: Inode, oldParent: Inode, oldName: string, newParent: Inode, newName: string): void {
  noteChange(oldParent)
  noteChange(newParent)
  const { mount } = source
  oldParent.removeChild(oldName, source)
  oldParent.addNegative(oldName, performance.now(), mount.changeCount)
  newParent.addChild(newName, source, mount.changeCount)
  newParent.noteStored(newName, performance.now())
}

/** A streaming upload knows only the path it began with, so it ends before the path changes. */
async function finishUploadsBelow(source: Inode): Promise<void> {
  for (const content of uploadsBelow(source)) await content.commit()
}

function uploadsBelow(source: Inode): FileContent[] {
  return [...source.mount.account.dirtyContents].filter(
    (content) => content.upload !== null && content.source.isAtOrBelow(source),
  )
}

/** A rename failed half way: what we believe of the tree may be wrong, so the store is asked again. */
function expireBelow(inode: Inode): void {
  inode.freshUntilMs = 0
  inode.listing = null
  inode.forgetWalk()
  for (const child of inode.children?.values() ?? []) expireBelow(child)
}
