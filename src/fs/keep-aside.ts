/** A second place for what a store has of a file, so that something else may be renamed over its name while it is in use. */
import type { Backend, ObjectStat } from '../backends/backend.js'
import { StorageError } from '../backends/storage-error.js'
import type { Inode } from './inode.js'

/** What is at the name is not what the file is based on: its handles have lost that, whatever is kept. */
const BASE_IS_GONE: ReadonlySet<string> = new Set(['ENOENT', 'ESTALE'])

/**
 * Keep what is stored of the open file `inode` at `aside` too, in one step that leaves its name as it is. null: nothing of the
 * version that it is based on is stored. The caller holds the path.
 */
export async function keepAside(inode: Inode, aside: string): Promise<ObjectStat | null> {
  const version = inode.baseVersion
  if (!inode.mayBeStored || version === null) return null
  const { backend } = inode.mount
  try {
    const kept = await copyAside(backend, inode.path(), aside, version)
    if (kept !== null) return kept
  } catch (error) {
    if (!(error instanceof StorageError) || !BASE_IS_GONE.has(error.errno)) {
      await dropAside(inode, aside)
      throw error
    }
  }
  await dropAside(inode, aside)
  return null
}

/** null: what was kept is another version. */
async function copyAside(
  backend: Backend,
  path: string,
  aside: string,
  version: string,
): Promise<ObjectStat | null> {
  if (backend.keepAside !== undefined) {
    const kept = await backend.keepAside(path, aside)
    // A link has the version. A copy has another one, and is one of this version if that is still what is at the name.
    const isOfVersion = kept.version === version || (await backend.stat(path, 'file'))?.version === version
    return isOfVersion ? kept : null
  }
  if (backend.capabilities.copy) return backend.copy(path, aside, null, { sourceVersion: version })
  return copyThrough(backend, path, aside, version)
}

/** Part by part through this process, for stores that can do it in no other way. */
async function copyThrough(
  backend: Backend,
  path: string,
  aside: string,
  version: string,
): Promise<ObjectStat | null> {
  const stat = await backend.stat(path, 'file')
  if (stat?.version !== version) return null
  const { sizeBytes } = stat
  const { partSizeBytes } = backend.capabilities
  if (sizeBytes <= partSizeBytes) {
    const data = sizeBytes === 0 ? new Uint8Array(0) : await backend.read(path, 0, sizeBytes, version)
    return backend.write(aside, data, null)
  }
  const writer = await backend.createWriter(aside, null)
  try {
    for (let offset = 0; offset < sizeBytes; offset += partSizeBytes) {
      const lengthBytes = Math.min(partSizeBytes, sizeBytes - offset)
      await writer.write(await backend.read(path, offset, lengthBytes, version))
    }
    return await writer.close()
  } catch (error) {
    await writer.abort()
    throw error
  }
}

/** Nobody needs it: if it can't be removed now, then as one of the leftovers. Never rejects. */
export async function dropAside({ mount }: Inode, aside: string): Promise<void> {
  try {
    await mount.backend.removeFile(aside)
  } catch (error) {
    if (!(error instanceof StorageError) || error.errno !== 'ENOENT') mount.noteLeftover(aside)
  }
}
