/** What was lost of data that guests were told is safe: of the mounts that are there, and of those that have gone. */
import type { Loss, Losses } from '../cache/losses.js'
import type { Mount } from '../fs/mount.js'
import type { Logger } from '../observability/logger.js'

/** Lost files of a mount that have a line each in the log; the others are in the counts. */
const LOGGED_FILES_MAX = 100

export interface LossTotals {
  /** Files with data that is nowhere. */
  readonly lostFiles: number
  /** Files that others have changed, so that the guest's version is kept elsewhere. */
  readonly conflicts: number
}

/** Unsaved data of one mount. */
export interface UnsavedData {
  readonly mount: string
  /** Files of which it is in memory only. */
  readonly files: number
  /** Of the cache's blocks that hold it: somewhat more than the data. */
  readonly bytes: number
  /** The first of the files. */
  readonly paths: readonly string[]
  /** Files of which it is in cache_dir, too. */
  readonly keptFiles: number
}

/** Paths that a line of the log names. */
const NAMED_FILES_MAX = 10

export class LossLedger {
  /** By the names of mounts that have gone. */
  private readonly gone = new Map<string, LossTotals>()

  constructor(private readonly logger: Logger) {}

  /** Tell the log from now on what the mount loses. */
  watch({ options, account }: Mount): void {
    account.losses.listener = (loss) => {
      this.log(options.name, account.losses, loss)
    }
  }

  /** The mount has come to its end. */
  close({ options, account }: Mount): void {
    account.losses.listener = null
    this.gone.set(options.name, sum([this.ofGone(options.name), totalsOf(account.losses)]))
  }

  /** Of mounts of this name that have gone. */
  ofGone(name: string): LossTotals {
    return this.gone.get(name) ?? NOTHING
  }

  namesOfGone(): string[] {
    return [...this.gone.keys()]
  }

  /** Of all that have gone and of these. */
  totals(mounts: readonly Mount[]): LossTotals {
    return sum([...this.gone.values(), ...mounts.map(({ account }) => totalsOf(account.losses))])
  }

  private log(mount: string, losses: Losses, { path, kind, error, keptAs }: Loss): void {
    if (losses.count > LOGGED_FILES_MAX) return
    const fields = { mount, path, err: error }
    if (kind === 'conflict')
      this.logger.error(
        { ...fields, keptAs },
        'others have changed a file meanwhile: theirs stays, and the version of the guest is kept',
      )
    else this.logger.error({ ...fields, lost: true }, 'data of a file that the guest has written is lost')
    if (losses.count === LOGGED_FILES_MAX)
      this.logger.error({ mount }, 'further files that are lost or in conflict are counted only')
  }
}

const NOTHING: LossTotals = { lostFiles: 0, conflicts: 0 }

export function totalsOf({ lost, conflicts }: Losses): LossTotals {
  return { lostFiles: lost, conflicts }
}

function sum(all: readonly LossTotals[]): LossTotals {
  let [lostFiles, conflicts] = [0, 0]
  for (const each of all) {
    lostFiles += each.lostFiles
    conflicts += each.conflicts
  }
  return { lostFiles, conflicts }
}

/** null: the store has everything. */
export function unsavedOf({ options, account }: Mount): UnsavedData | null {
  if (account.dirtyContents.size === 0) return null
  const paths: string[] = []
  let [files, keptFiles] = [0, 0]
  for (const { staged, source } of account.dirtyContents) {
    if (staged.isSecure) keptFiles++
    else if (files++ < NAMED_FILES_MAX) paths.push(source.path)
  }
  return { mount: options.name, files, bytes: files === 0 ? 0 : account.heldBytes, paths, keptFiles }
}
