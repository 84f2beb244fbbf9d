import type { FileContent } from '../cache/file-content.js'
import { requireNewName, requireNotFixed, requireWritable } from './access.js'
import { noteChange } from './create.js'
import type { FileSystem } from './file-system.js'
import { FsError } from './fs-error.js'
import { endName, eraseIfClosed, loseNameTo } from './silly-rename.js'
import type { Inode } from './inode.js'
import { dropAside, keepAside } from './keep-aside.js'
import { lookup, lookupStored, requireDirectory } from './lookup.js'
import { expireBelow, moveStored } from './move-stored.js'
import { PATH_MAX_BYTES } from './names.js'
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
        await fs.inodes.hold([source], async () => {
          const target = await lookup(fs, newParent, newName)
          if ((flags & RENAME_NOREPLACE) !== 0) await requireFree(fs, target, newParent, newName)
          if (source === target) return
          checkKinds(source, target, oldParent, newParent)
          requireReachable(source, newParent.pathOf(newName).length)
          await moveOver(fs, source, target, newParent, newName)
        })
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

function checkKinds(source: Inode, target: Inode | null, oldParent: Inode, newParent: Inode): void {
  requireNotFixed(source)
  if (newParent.isAtOrBelow(source)) throw new FsError('EINVAL', 'a directory cannot move into itself')
  if (target === null) return
  requireNotFixed(target)
  if (source.isDirectory && !target.isDirectory) throw new FsError('ENOTDIR')
  if (!source.isDirectory && target.isDirectory) throw new FsError('EISDIR')
  if (target.isDirectory && oldParent.isAtOrBelow(target)) throw new FsError('ENOTEMPTY')
}

/**
 * ENAMETOOLONG where something below a directory, as far as it is known, would get a path that no store is asked for: renames would
 * make trees of any depth otherwise, at the cost of all who put such a path together. `pathLength`: of the directory's new path.
 */
function requireReachable(directory: Inode, pathLength: number): void {
  if (!directory.isDirectory || pathLength <= directory.path().length) return
  const pending: (readonly [Inode, number])[] = [[directory, pathLength]]
  for (let next = pending.pop(); next !== undefined; next = pending.pop()) {
    const [{ children }, length] = next
    for (const [name, child] of children ?? []) {
      // Units of UTF-16 are never more than bytes.
      const childLength = length + 1 + name.length
      if (childLength > PATH_MAX_BYTES) throw new FsError('ENAMETOOLONG')
      if (child.isDirectory) pending.push([child, childLength])
    }
  }
}

async function moveOver(
  fs: FileSystem,
  source: Inode,
  target: Inode | null,
  newParent: Inode,
  newName: string,
): Promise<void> {
  if (target === null) return move(source, null, newParent, newName)
  await fs.inodes.hold([target], async () => {
    // Nobody makes a name in it between the look whether it is empty and its end.
    if (target.isDirectory) await target.change(() => move(source, target, newParent, newName))
    else if (target.handles > 0) await moveOverOpen(fs, source, target, newParent, newName)
    else await moveOverClosed(source, target, newParent, newName)
  })
}

async function moveOverClosed(source: Inode, target: Inode, parent: Inode, name: string): Promise<void> {
  target.isErasing = true
  try {
    // It may have to stay, if the rename fails: so what is unsaved of it is stored, not thrown away.
    await target.content?.commit()
    await move(source, target, parent, name)
  } finally {
    target.isErasing = false
  }
}

/** What the store has of an open file is kept aside for its handles, and its name stays until the source takes it. */
async function moveOverOpen(
  fs: FileSystem,
  source: Inode,
  target: Inode,
  parent: Inode,
  name: string,
): Promise<void> {
  await move(source, target, parent, name)
  await target.content?.staged.forget()
  await eraseIfClosed(fs, target)
}

async function move(source: Inode, replaced: Inode | null, newParent: Inode, newName: string): Promise<void> {
  const all = replaced === null ? [source] : [source, replaced]
  const moveOnce = (): Promise<boolean> => moveInStore(source, replaced, newParent, newName)
  do for (const inode of all) await settleBelow(inode)
  while (!(await newParent.whileAppearing(newName, moveOnce)))
}

/** False when something is on its way again to an old path. */
async function moveInStore(
  source: Inode,
  replaced: Inode | null,
  newParent: Inode,
  newName: string,
): Promise<boolean> {
  const { mount } = source
  const all = replaced === null ? [source] : [source, replaced]
  return mount.guard.move(all, async () => {
    if (all.some((inode) => unsettledBelow(inode).length > 0)) return false
    const { parent: oldParent, name: oldName } = source
    if (oldParent === null) throw new FsError('EBUSY')
    const goesOn = mount.unfinishedMoves.has(source.path(), newParent.pathOf(newName))
    if (replaced?.isDirectory === true && !goesOn) await requireEmpty(replaced)
    const isOpen = replaced !== null && !replaced.isDirectory && !replaced.isErasing
    if (isOpen) await replaceOpen(source, replaced, newParent, newName)
    else await replace(source, replaced, newParent, newName)
    if (replaced !== null && !isOpen) endName(newParent, newName, replaced)
    moveName(source, oldParent, oldName, newParent, newName)
    await amendStagedBelow(source, null)
    return true
  })
}

async function replaceOpen(source: Inode, replaced: Inode, parent: Inode, name: string): Promise<void> {
  const { hiddenDirectory, hiddenNames } = replaced.mount
  const hiddenName = hiddenNames.take()
  const aside = hiddenDirectory.pathOf(hiddenName)
  const kept = await keepAside(replaced, aside)
  try {
    await replace(source, replaced, parent, name)
  } catch (error) {
    if (kept !== null) await dropAside(replaced, aside)
    throw error
  }
  loseNameTo(replaced, hiddenName, kept)
}

/** In the store, as far as that has anything of them. */
async function replace(
  source: Inode,
  replaced: Inode | null,
  newParent: Inode,
  newName: string,
): Promise<void> {
  const to = newParent.pathOf(newName)
  await amendStagedBelow(source, to)
  if (source.isDirectory || source.mayBeStored) {
    try {
      await renameInStore(source, newParent, newName)
    } catch (error) {
      await amendStagedBelow(source, null)
      // The rename may have been done, or be done yet.
      replaced?.expire()
      throw error
    }
  } else if (replaced?.mayBeStored === true) {
    // The old object stays until the new file's first commit replaces it.
    source.mayBeStored = true
    source.content?.base.mayReplace(replaced.versionThere)
  }
}

/** What is on the local disk follows its file: it may be at either place until the move is done. `to`: the source's new path. */
async function amendStagedBelow(source: Inode, to: string | null): Promise<void> {
  const { account } = source.mount
  if (account.staging === null) return
  const from = source.path()
  for (const content of [...account.dirtyContents].filter((dirty) => dirty.source.isAtOrBelow(source))) {
    const { path } = content.source
    await content.staged.amend(to === null ? [path] : [path, to + path.slice(from.length)])
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
    source.parent?.forgetListing()
    newParent.forgetListing()
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

/**
 * A streaming upload knows only the path it began with, so it ends before the path changes. And of a write without an answer nobody knows
 * whether the name leads to it, until a commit finds out.
 */
async function settleBelow(source: Inode): Promise<void> {
  for (const content of unsettledBelow(source)) await content.commit()
}

function unsettledBelow(source: Inode): FileContent[] {
  return [...source.mount.account.dirtyContents].filter(
    (content) =>
      (content.upload !== null || (content.isUncertain && content.isBusy)) &&
      content.source.isAtOrBelow(source),
  )
}
