import type { MovedFile } from '../backends/backend.js'
import type { Inode } from './inode.js'

/**
 * Let the store move what it has of `inode` to the path `to`. The caller holds the paths (`PathGuard.move`) and changes
 * the names in memory afterwards. What the guest reads and changes is based on a version of the object: where the move itself
 * gave it another one, that counts now, or the next commit would take the moved object for somebody else's.
 */
export async function moveStored(inode: Inode, to: string): Promise<void> {
  const { backend } = inode.mount
  const from = inode.path()
  await backend.rename(from, to, inode.kind, {
    version: inode.content?.version ?? inode.storedVersion ?? undefined,
    moved: (file) => {
      const moved = findBelow(inode, from, file.from)
      if (moved !== null) adoptVersion(moved, file)
    },
  })
}

/** The inode of a file that lay at `path`; `from` is where `inode` lies. null: nobody knows of it. */
function findBelow(inode: Inode, from: string, path: string): Inode | null {
  if (path === from) return inode
  let found: Inode | undefined = inode
  for (const name of path.slice(from.length + 1).split('/')) found = found?.children?.get(name)
  return found ?? null
}

function adoptVersion(inode: Inode, { previousVersion, stat }: MovedFile): void {
  const { content } = inode
  if (inode.storedVersion === previousVersion) inode.storedVersion = stat.version
  else inode.expire()
  content?.renewVersion(previousVersion, stat.version)
}
