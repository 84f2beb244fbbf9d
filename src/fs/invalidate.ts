/**
 * Forget what was told by stores of a part of the tree, so that the next look at it asks them again. What the guest has written and
 * no store has yet stays, and so do open files, which read on. The guest's kernel has its own memory of names, attributes and pages,
 * which nobody can reach: it ends when what it was told expires, and for pages with the next open.
 */
import { setImmediate as nextTurn } from 'node:timers/promises'
import type { FileSystem } from './file-system.js'
import { FsError } from './fs-error.js'
import type { Inode } from './inode.js'
import { PASSTHROUGH_TYPE, type Mount } from './mount.js'

/** Inodes that are looked at before guests have their turn: well below a millisecond. */
const INODES_PER_TURN = 1000

export interface Invalidated {
  /** As it is in the guest's tree, from its root: "/s3/a". */
  readonly path: string
  /** Profiles that something was forgotten of. */
  readonly mounts: readonly string[]
  /** Profiles below the path that have nothing to forget: the host is asked each time. */
  readonly passthrough: readonly string[]
  /** Names that were known at and below the path. */
  readonly inodes: number
  /** Memory that was given back, bytes. */
  readonly bytes: number
  /** Files below that have unsaved data, which stays. */
  readonly unsavedFiles: number
}

/** Where the path leads: as far as it is known, what is there, and the first name that is not. */
interface Place {
  readonly inode: Inode
  readonly missing: string | null
}

/**
 * `path`: a file or directory in the guest's tree, known or not, with everything below it. `forgetStored` is told of each store's part
 * of it, for what is kept elsewhere by paths. EINVAL for a path with "." or ".." in it.
 */
export async function invalidate(
  fs: FileSystem,
  path: string,
  forgetStored: (mount: Mount, path: string) => void = () => undefined,
): Promise<Invalidated> {
  const names = namesOf(path)
  const mounts = mountsAt(fs, names)
  const place = find(fs, names)
  begin(fs, mounts, names, forgetStored)
  const { inode, missing } = place
  const totals = { inodes: 0, bytes: 0, unsavedFiles: 0 }
  // The names that lead there, too: what was listed above would answer for it.
  if (missing !== null) forgetNames(inode)
  else if (inode.parent !== null) forgetNames(inode.parent)
  if (missing === null) await forgetBelow(inode, totals)
  const isHost = ({ options }: Mount): boolean => options.type === PASSTHROUGH_TYPE
  const nameOf = ({ options }: Mount): string => options.name
  return {
    path: `/${names.join('/')}`,
    mounts: mounts.filter((mount) => !isHost(mount)).map(nameOf),
    passthrough: mounts.filter(isHost).map(nameOf),
    ...totals,
  }
}

function namesOf(path: string): string[] {
  const names = path.split('/').filter((name) => name !== '')
  if (names.some((name) => name === '.' || name === '..'))
    throw new FsError('EINVAL', `write ${JSON.stringify(path)} without "." and ".."`)
  return names
}

/** The mount that the path is in, and all that are below it. */
function mountsAt({ mounts }: FileSystem, names: readonly string[]): Mount[] {
  const startsWith = (long: readonly string[], short: readonly string[]): boolean =>
    short.every((name, index) => long[index] === name)
  const above = mounts.mounts.filter(({ options }) => startsWith(names, options.mountPoint))
  const innermost = above.sort((a, b) => b.options.mountPoint.length - a.options.mountPoint.length)[0]
  const below = mounts.mounts.filter(
    (mount) => mount !== innermost && startsWith(mount.options.mountPoint, names),
  )
  return [...(innermost === undefined ? [] : [innermost]), ...below]
}

/** First of all: answers to what was asked until now are not believed. */
function begin(
  fs: FileSystem,
  mounts: readonly Mount[],
  names: readonly string[],
  forgetStored: (mount: Mount, path: string) => void,
): void {
  const nowMs = performance.now()
  for (const mount of new Set([...mounts, fs.mounts.root.mount])) {
    mount.invalidatedMs = nowMs
    // A listing that is under way is not kept.
    mount.changeCount++
  }
  for (const mount of mounts) forgetStored(mount, names.slice(mount.options.mountPoint.length).join('/'))
}

function find(fs: FileSystem, names: readonly string[]): Place {
  let inode = fs.mounts.root
  for (const name of names) {
    const child = inode.children?.get(name)
    if (child === undefined) return { inode, missing: name }
    inode = child
  }
  return { inode, missing: null }
}

/** In slices: a tree of a million files must not keep the guest waiting. */
async function forgetBelow(
  top: Inode,
  totals: { inodes: number; bytes: number; unsavedFiles: number },
): Promise<void> {
  const pending = [top]
  for (let inode = pending.pop(); inode !== undefined; inode = pending.pop()) {
    totals.inodes++
    totals.bytes += forget(inode)
    if (inode.content?.isDirty === true) totals.unsavedFiles++
    for (const child of inode.children?.values() ?? []) pending.push(child)
    if (totals.inodes % INODES_PER_TURN === 0) await nextTurn()
  }
}

/** Returns the bytes of memory that were given back. `validatedMs` stays: older answers are still older. */
function forget(inode: Inode): number {
  inode.freshUntilMs = 0
  if (inode.isDirectory) forgetNames(inode)
  return inode.content?.forgetStored() ?? 0
}

function forgetNames(directory: Inode): void {
  directory.forgetListing()
  directory.guestListing = null
  // One that is being filled answers nobody any more.
  directory.forgetWalk()
  directory.expireMissing()
}
