import { FsError } from './fs-error.js'
import type { OpenFile } from './open-file.js'

/** Below this the bytes are as quickly copied through the cache as a store is asked to. */
const MIN_COPY_BYTES = 128 << 10

/**
 * COPY_FILE_RANGE of a whole file into an empty one of the same mount, by the store itself. Everything else is
 * EOPNOTSUPP (EXDEV between mounts): the guest's kernel then reads and writes. Returns the bytes copied.
 */
export async function copyFileRange(
  from: OpenFile,
  fromOffset: number,
  to: OpenFile,
  toOffset: number,
  lengthBytes: number,
): Promise<number> {
  if (!from.canRead || !to.canWrite) throw new FsError('EBADF')
  const { mount } = from.inode
  if (mount !== to.inode.mount) throw new FsError('EXDEV')
  if (!mount.backend.capabilities.copy || fromOffset !== 0 || toOffset !== 0) throw new FsError('EOPNOTSUPP')
  from.content.requireAlive()
  to.content.requireAlive()
  const { size } = from.content
  const isWhole = size >= MIN_COPY_BYTES && lengthBytes >= size && to.content.size === 0
  if (!isWhole || from.inode.isUnlinked || to.inode.isUnlinked) throw new FsError('EOPNOTSUPP')
  await from.content.commit()
  // What is kept of the copy is stored with it.
  to.inode.touch()
  const sourceVersion = from.content.version
  if (sourceVersion === null) throw new FsError('EOPNOTSUPP')
  await to.content.committer.copyInStore(size, (options, run) =>
    mount.guard.useAll([from.inode, to.inode], () => {
      const { expected } = to.content.base
      return run(
        mount.backend.copy(from.inode.path(), to.inode.path(), expected, { ...options, sourceVersion }),
      )
    }),
  )
  if (!mount.backend.capabilities.attributes) to.inode.touch()
  return to.content.size
}
