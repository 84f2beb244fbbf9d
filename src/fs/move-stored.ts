import { RESERVED_DIRECTORY, type MovedFile, type ObjectStat } from '../backends/backend.js'
import { StorageError } from '../backends/storage-error.js'
import type { Inode } from './inode.js'

/**
 * Let the store move what it has of `inode` to the path `to`. The caller holds the paths (`PathGuard.move`) and changes
 * the names in memory afterwards. What the guest reads and changes is based on a version of the object: where the move itself
 * gave it another one, that counts now, or the next commit would take the moved object for somebody else's. An answer that was
 * lost is asked for by looks at both places; after an error the object is where it was, as far as the store tells: with the version
 * that it had, whatever a copy of it has got.
 */
export async function moveStored(inode: Inode, to: string): Promise<void> {
  const { backend } = inode.mount
  const from = inode.path()
  const moves: MovedFile[] = []
  try {
    await backend.rename(from, to, inode.kind, {
      version: inode.versionThere ?? undefined,
      moved: (file) => moves.push(file),
    })
  } catch (error) {
    const found = await findMoved(inode, from, to, error)
    if (found === null) throw error
    adoptFound(inode, to, found)
  }
  for (const file of moves) {
    const moved = findBelow(inode, from, file.from)
    if (moved !== null) adoptMoved(moved, file)
  }
}

/** What the store has moved all the same; null: nothing, as far as it tells. */
async function findMoved(
  { mount, kind }: Inode,
  from: string,
  to: string,
  error: unknown,
): Promise<ObjectStat | null> {
  if (!(error instanceof StorageError) || error.outcome === 'refused') return null
  try {
    const [before, after] = await Promise.all([mount.backend.stat(from), mount.backend.stat(to)])
    return before === null && after?.kind === kind ? after : null
  } catch {
    return null
  }
}

/** Where nobody else stores anything, what is there is what was moved. Elsewhere its version is ours only if it has not changed. */
function adoptFound(inode: Inode, to: string, stat: ObjectStat): void {
  const version = inode.versionThere
  const sizeBytes = inode.content?.storedSize ?? inode.storedSizeBytes
  if (to.startsWith(`${RESERVED_DIRECTORY}/`) && version !== null && stat.sizeBytes === sizeBytes)
    adoptMoved(inode, { from: inode.path(), to, previousVersion: version, stat })
  else expireBelow(inode)
}

/** What we believe of the tree may be wrong: the store is asked again. */
export function expireBelow(top: Inode): void {
  const pending = [top]
  for (let inode = pending.pop(); inode !== undefined; inode = pending.pop()) {
    inode.expire()
    inode.forgetListing()
    inode.forgetWalk()
    for (const child of inode.children?.values() ?? []) pending.push(child)
  }
}

/** The inode of a file that lay at `path`; `from` is where `inode` lies. null: nobody knows of it. */
function findBelow(inode: Inode, from: string, path: string): Inode | null {
  if (path === from) return inode
  let found: Inode | undefined = inode
  for (const name of path.slice(from.length + 1).split('/')) found = found?.children?.get(name)
  return found ?? null
}

/** A call of ours has made another version of the one that the file was based on. */
export function adoptMoved(inode: Inode, { previousVersion, stat }: MovedFile): void {
  const { content } = inode
  if (inode.storedVersion === previousVersion) inode.storedVersion = stat.version
  else inode.expire()
  content?.base.renew(previousVersion, stat.version)
}
