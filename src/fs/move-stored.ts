import type { Backend } from '../backends/backend.js'
import type { Inode } from './inode.js'

/**
 * Let the store move what it has of `inode` to the path `to`. The caller holds the paths (`PathGuard.move`) and changes
 * the names in memory afterwards.
 */
export async function moveStored(inode: Inode, to: string): Promise<void> {
  const { backend } = inode.mount
  const from = inode.path()
  await backend.rename(from, to, inode.kind)
  if (backend.copyChangesVersion !== undefined) await followVersions(backend, inode, from, to)
}

/**
 * What the guest reads and changes is based on a version of the object. Where the move gave it another one, that counts
 * now, or the next commit would take the moved object for somebody else's.
 */
async function followVersions(backend: Backend, inode: Inode, from: string, to: string): Promise<void> {
  if (hasChanged(backend, inode)) {
    const path = to + inode.path().slice(from.length)
    const stat = inode.content === null ? null : await backend.stat(path, 'file').catch(() => null)
    if (stat !== null && stat.sizeBytes === inode.content?.storedSize) adoptVersion(inode, stat.version)
    else inode.expire()
  }
  for (const child of inode.children?.values() ?? []) await followVersions(backend, child, from, to)
}

function hasChanged(backend: Backend, { content, storedVersion }: Inode): boolean {
  const version = content === null ? storedVersion : content.version
  return version !== null && backend.copyChangesVersion?.(version) === true
}

function adoptVersion(inode: Inode, version: string): void {
  inode.storedVersion = version
  if (inode.content !== null) inode.content.version = version
}
