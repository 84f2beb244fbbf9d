import type { MovedFile } from '../backends/backend.js'
import { StorageError } from '../backends/storage-error.js'
import type { Inode } from './inode.js'

/**
 * Let the store move what it has of `inode` to the path `to`. The caller holds the paths (`PathGuard.move`) and changes
 * the names in memory afterwards. What the guest reads and changes is based on a version of the object: where the move itself
 * gave it another one, that counts now, or the next commit would take the moved object for somebody else's. An answer that was
 * lost is asked for by looks at both places; after an error the object is where it was, as far as the store tells.
 */
export async function moveStored(inode: Inode, to: string): Promise<void> {
  const { backend } = inode.mount
  const from = inode.path()
  try {
    await backend.rename(from, to, inode.kind, {
      version: inode.versionThere ?? undefined,
      moved: (file) => {
        const moved = findBelow(inode, from, file.from)
        if (moved !== null) adoptMoved(moved, file)
      },
    })
  } catch (error) {
    if (!(await isMoved(inode, from, to, error))) throw error
  }
}

/** Whether the store has moved the object all the same. */
async function isMoved({ mount, kind }: Inode, from: string, to: string, error: unknown): Promise<boolean> {
  if (!(error instanceof StorageError) || error.outcome === 'refused') return false
  try {
    const [before, after] = await Promise.all([mount.backend.stat(from), mount.backend.stat(to)])
    return before === null && after?.kind === kind
  } catch {
    return false
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
  content?.renewVersion(previousVersion, stat.version)
}
