import type { Backend, DirectoryEntry, EntryKind, ObjectStat } from '../backend.js'
import { canBeShown } from '../shown-names.js'
import { StorageError } from '../storage-error.js'
import { BackendLayer, required } from './backend-layer.js'

/**
 * Next to every store: what it tells is held against what can be true of files, before anything else believes it. Names that no file
 * can have are left out of listings, and a size that no file has is an error of whoever asked for it.
 */
export class CheckedAnswers extends BackendLayer {
  declare readonly listPage?: NonNullable<Backend['listPage']>
  declare readonly listSmall?: NonNullable<Backend['listSmall']>

  constructor(inner: Backend) {
    super(inner)
    if (inner.listPage !== undefined)
      this.listPage = async (...args) => {
        const page = await required(inner.listPage?.(...args))
        return { ...page, entries: shown(page.entries) }
      }
    if (inner.listSmall !== undefined)
      this.listSmall = async (path) => {
        const entries = await required(inner.listSmall?.(path))
        return entries === null ? null : shown(entries)
      }
  }

  override async list(path: string): Promise<DirectoryEntry[]> {
    return shown(await this.inner.list(path))
  }

  override async stat(path: string, kind?: EntryKind): Promise<ObjectStat | null> {
    const stat = await this.inner.stat(path, kind)
    if (stat === null || hasPossibleSize(stat)) return stat
    throw new StorageError('EIO', `${path}: the store tells a size that no file has: ${stat.sizeBytes}`)
  }
}

function hasPossibleSize({ sizeBytes }: ObjectStat): boolean {
  return Number.isSafeInteger(sizeBytes) && sizeBytes >= 0
}

/** The same list where all of it can be shown, as nearly all can. An entry's impossible size is asked for again, and refused then. */
function shown(entries: readonly DirectoryEntry[]): DirectoryEntry[] {
  if (entries.every(isFine)) return entries as DirectoryEntry[]
  return entries
    .filter(({ name }) => canBeShown(name))
    .map((entry) => (isFine(entry) ? entry : { ...entry, stat: null }))
}

function isFine({ name, stat }: DirectoryEntry): boolean {
  return canBeShown(name) && (stat === null || hasPossibleSize(stat))
}
