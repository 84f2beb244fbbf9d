import { errnoName } from '../observability/errno-name.js'
import type { FileSystem } from './file-system.js'
import { errnoOf } from './fs-error.js'
import type { Mount } from './mount.js'

/** Failed files that are named; of the others there is the number. */
const NAMED_FAILURES_MAX = 100

export interface FlushFailure {
  readonly mount: string
  /** In the guest's tree. */
  readonly path: string
  readonly errno: string
}

export interface Flushed {
  /** Files that had something to commit. */
  readonly files: number
  readonly failed: number
  /** The first NAMED_FAILURES_MAX of them. */
  readonly failures: readonly FlushFailure[]
}

/**
 * Commit what is dirty now, of one mount or, with null, of all, those too that are being removed. `report` is told how many files are
 * left. Never rejects.
 */
export async function flush(
  fs: Pick<FileSystem, 'cache' | 'mounts' | 'logger'>,
  mount: Mount | null,
  report: (filesLeft: number) => void = () => undefined,
): Promise<Flushed> {
  const contents = mount === null ? fs.cache.dirtyContents() : [...mount.account.dirtyContents]
  const mounts = new Map(fs.mounts.mounts.map((each) => [each.account, each]))
  const failures: FlushFailure[] = []
  let failed = 0
  let left = contents.length
  await Promise.all(
    contents.map(async (content) => {
      try {
        await content.commit()
      } catch (error) {
        const errno = errnoName(errnoOf(error))
        const { account, path } = content.source
        const { name, mountPoint } = mounts.get(account)?.options ?? { name: '(removed)', mountPoint: [] }
        fs.logger.error({ err: error, errno, mount: name }, 'a file could not be committed')
        failed++
        if (failures.length < NAMED_FAILURES_MAX)
          failures.push({ mount: name, path: `/${[...mountPoint, path].join('/')}`, errno })
      }
      report(--left)
    }),
  )
  return { files: contents.length, failed, failures }
}
