import type { FileSystem } from './file-system.js'
import { releaseFile } from './open-file.js'

/**
 * The guest is gone or begins anew: nothing of it is open or looked up any more. In memory this is done when the call
 * returns; the promise is that of what the guest wrote being committed, and of its open unlinked files being erased.
 */
export async function endSession(fs: FileSystem): Promise<void> {
  const files = fs.files.drain()
  for (const directory of fs.directories.drain()) directory.inode.handles--
  const releases = files.map((file) => releaseFile(fs, file) ?? Promise.resolve())
  fs.inodes.forgetAll()
  const results = await Promise.allSettled(releases)
  for (const result of results) {
    if (result.status === 'rejected')
      fs.logger.error({ err: result.reason as unknown }, 'closing a file failed')
  }
  await fs.commitAll(() => undefined)
}
