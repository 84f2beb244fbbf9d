import type {
  AttributeChanges,
  AttributesChanged,
  Backend,
  FileAttributes,
  ObjectStat,
  Timestamp,
} from '../backends/backend.js'
import type { ContentSource } from '../cache/content-source.js'
import type { StagedAttributes } from '../cache/staged-record.js'
import type { StoreAccount } from '../cache/store-account.js'
import { FsError } from './fs-error.js'
import { requireWholeRead } from './guest-view.js'
import type { Inode } from './inode.js'
import type { InodeTable } from './inode-table.js'

/** What the contents of an inode learn of it, and tell it. */
export class InodeSource implements ContentSource {
  readonly account: StoreAccount

  constructor(
    private readonly inode: Inode,
    private readonly inodes: InodeTable,
  ) {
    this.account = inode.mount.account
  }

  /** Asked for anew each time: a reload of the configuration may give the mount another one. */
  get backend(): Backend {
    return this.inode.mount.backend
  }

  withPath<T>(work: (path: string) => Promise<T>): Promise<T> {
    const { inode } = this
    return inode.mount.guard.use(inode, () => work(inode.path()))
  }

  async revalidate(): Promise<void> {
    const { inode } = this
    const { content } = inode
    const known = content?.version
    const askedMs = performance.now()
    const ask = (): Promise<ObjectStat | null> => this.withPath((path) => this.backend.stat(path))
    const stat = (await ask()) ?? (await ask())
    // What was seen may be the work of a commit of ours that has no answer yet.
    await content?.committer.ended()
    if (content?.version !== known) return
    if (stat?.kind !== 'file') throw new FsError('ESTALE', 'the object is gone')
    if (content?.isDirty === true) {
      if (stat.version === known) return
      throw new FsError('ESTALE', 'the object was replaced while it was being changed')
    }
    inode.adopt(stat, askedMs)
    // Whoever reads on by the size of before would get a part of the new one.
    requireWholeRead(inode)
  }

  conflicted(): void {
    const { inode } = this
    inode.content = null
    // New contents count their epochs anew; the guest's pages hold what was not stored.
    inode.openedGeneration = -1
    inode.unsavedAttributes = null
    inode.pendingMtime = null
    inode.mayBeStored = true
    // Some version is there; reading it finds out which.
    inode.storedVersion ??= ''
    inode.expire()
    this.inodes.freeIfUnused(inode)
  }

  noteStored(stat: ObjectStat): void {
    const { inode } = this
    const nowMs = performance.now()
    noteStored(inode, nowMs)
    inode.storedSizeBytes = stat.sizeBytes
    inode.storedVersion = stat.version
    inode.validatedMs = nowMs
    inode.freshUntilMs = nowMs + inode.mount.options.expirationMs
    if (stat.permissions === undefined) {
      this.noteStoredTime(stat.mtime)
    } else if (inode.content?.isDirty !== true && stat.mtime !== null) {
      // An upload that ran while the file was written has the time at which it began.
      inode.mtime = stat.mtime
    }
  }

  /** Where the store keeps the times of writes, a file's is that of its last one, however late it was stored. */
  private noteStoredTime(stored: Timestamp | null): void {
    const { inode } = this
    if (inode.pendingMtime !== null || stored === null) return
    if (this.backend.capabilities.keepsWrittenTimes !== true) {
      inode.mtime = stored
    } else if (inode.content?.isDirty !== true && !isSameTime(stored, inode.mtime)) {
      inode.pendingMtime = inode.mtime
    }
  }

  async committed(): Promise<void> {
    if (this.inode.pendingMtime !== null) await storePendingMtime(this.inode)
  }

  get hasUnsavedAttributes(): boolean {
    return this.inode.unsavedAttributes !== null
  }

  takeAttributes(): FileAttributes | undefined {
    const { inode } = this
    inode.unsavedAttributes = null
    const { attributes, keepsWrittenTimes } = this.backend.capabilities
    return attributes || keepsWrittenTimes === true ? inode.attributes : undefined
  }

  async storeAttributes(adopt: (changed: AttributesChanged) => void): Promise<void> {
    const { inode } = this
    const changes = inode.unsavedAttributes ?? {}
    inode.unsavedAttributes = null
    try {
      await this.withPath(async (path) => {
        adopt(await this.backend.setAttributes(path, 'file', changes))
      })
    } catch (error) {
      // What was changed meanwhile is newer.
      inode.unsavedAttributes = { ...changes, ...(inode.unsavedAttributes as AttributeChanges | null) }
      throw error
    }
  }

  attributesToStage(): StagedAttributes {
    const { inode } = this
    const { attributes, keepsWrittenTimes } = this.backend.capabilities
    return {
      mtime: inode.pendingMtime ?? (keepsWrittenTimes === true ? inode.mtime : null),
      attributes: attributes ? inode.attributes : undefined,
    }
  }

  get path(): string {
    return this.inode.path()
  }

  discardAttributes(): void {
    this.inode.unsavedAttributes = null
  }

  get isOpen(): boolean {
    return this.inode.handles > 0
  }

  isAtOrBelow(directory: object): boolean {
    return this.inode.isAtOrBelow(directory as Inode)
  }

  settled(): void {
    this.inodes.freeIfUnused(this.inode)
  }
}

function isSameTime(one: Timestamp, other: Timestamp): boolean {
  return one.seconds === other.seconds && one.nanoseconds === other.nanoseconds
}

/** What the store was asked before does not know what it has of the file now; where the file is new, no listing has it. */
function noteStored(inode: Inode, nowMs: number): void {
  const { mount, parent } = inode
  parent?.noteStored(inode.name, nowMs)
  if (inode.mayBeStored) return
  inode.mayBeStored = true
  inode.namedAtChange = ++mount.changeCount
  parent?.forgetListing()
}

/** Hand the time that utimens set to the store, where it takes one; the object's version changes by that. */
export async function storePendingMtime(inode: Inode): Promise<void> {
  const { backend, guard } = inode.mount
  const mtime = inode.pendingMtime
  if (mtime === null || !backend.capabilities.setModificationTime) return
  await guard.use(inode, async () => {
    const changed = await backend.setModificationTime(inode.path(), mtime)
    if (inode.pendingMtime === mtime) inode.pendingMtime = null
    adoptChanged(inode, changed)
  })
}

/** The store has changed what it keeps beside the contents; its version is ours only if it had the one that we know before. */
function adoptChanged(inode: Inode, { previousVersion, stat }: AttributesChanged): void {
  const nowMs = performance.now()
  noteStored(inode, nowMs)
  if (inode.isDirectory) {
    inode.validatedMs = nowMs
    return
  }
  const { content } = inode
  const known = content === null ? inode.storedVersion : content.version
  if (known !== previousVersion) {
    // Somebody else's contents. Who has unsaved changes of the former ones is told when they are to be stored.
    inode.expire()
    return
  }
  inode.validatedMs = nowMs
  inode.storedVersion = stat.version
  content?.base.renew(previousVersion, stat.version)
}
