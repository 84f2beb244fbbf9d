import type { RenameOptions } from '../backend.js'
import { forEachConcurrently } from '../concurrency.js'
import { StorageError } from '../storage-error.js'
import type { ConditionProbe } from './condition-probe.js'
import { storedStat } from './file-attributes.js'
import { listPages } from './listing.js'
import type { ListedObject, ObjectClient, ObjectHead } from './object-client.js'

/** Objects that are moved at once. */
const TREE_CONCURRENCY = 16
/** Tries to copy an object that somebody else keeps changing. */
const COPY_TRIES = 5

/** What is known of an object that is moved. */
type Source = Pick<ObjectHead, 'version' | 'sizeBytes'> & Partial<Pick<ObjectHead, 'keptHeaders'>>

/**
 * Renames, where a store has none: each object is copied, and when the copy is known to stand the version that was copied is
 * removed. What somebody else stores at the old name meanwhile stays there.
 */
export class ObjectMover {
  constructor(
    private readonly client: ObjectClient,
    private readonly probe: ConditionProbe,
  ) {}

  /** @throws StorageError ENOENT */
  async requireFile(from: string): Promise<ObjectHead> {
    const head = await this.client.head(from)
    if (head === null) throw notThere(from)
    return head
  }

  /** All keys below the directory can be moved, or nothing is: what could not be would be left behind, and lost to the guest. */
  async requireMovable(from: string, to: string, hasBareMarker: boolean): Promise<void> {
    const { limits } = this.client
    let isListed = false
    for await (const { objects } of this.pagesBelow(from)) {
      for (const { key } of objects) {
        isListed = true
        const target = targetOf(key, from, to)
        if (!this.client.accepts(key) || !this.client.accepts(target))
          throw new StorageError('EINVAL', `${JSON.stringify(key)}: this key can't be moved`)
        if (Buffer.byteLength(target) > limits.maxPathBytes + 1)
          throw new StorageError('ENAMETOOLONG', `${JSON.stringify(key)}: would be too long`)
      }
    }
    // A listing may not have the marker yet that was made a moment ago.
    if (isListed || hasBareMarker) return
    if ((await this.client.head(`${from}/`)) === null) throw notThere(from)
  }

  private pagesBelow(directory: string): AsyncGenerator<{ readonly objects: readonly ListedObject[] }> {
    return listPages(this.client, { prefix: `${directory}/`, isFlat: false })
  }

  async moveTree(from: string, to: string, options: RenameOptions): Promise<void> {
    let isListed = false
    for await (const { objects } of this.pagesBelow(from)) {
      isListed ||= objects.length > 0
      await forEachConcurrently(objects, TREE_CONCURRENCY, async (listed) => {
        const { key, sizeBytes, version } = listed
        const source = sizeBytes === null || version === '' ? null : { ...listed, sizeBytes }
        await this.move(key, targetOf(key, from, to), source, options)
      })
    }
    if (!isListed) await this.move(`${from}/`, `${to}/`, null, options)
  }

  /** `head`: as it was told by `requireFile`. */
  async moveFile(from: string, to: string, head: ObjectHead, options: RenameOptions): Promise<void> {
    if (!(await this.move(from, to, head, options))) throw notThere(from)
  }

  /** False: it is gone, by somebody else's hand or by an earlier try. */
  private async move(
    from: string,
    to: string,
    known: Source | null,
    { moved }: RenameOptions,
  ): Promise<boolean> {
    const copied = await this.copy(from, to, known)
    if (copied === null) return false
    const { source, version } = copied
    if (moved !== undefined && version !== source.version && !from.endsWith('/'))
      moved({
        ...{ from, to, previousVersion: source.version },
        stat: storedStat(source.sizeBytes, version, undefined),
      })
    await this.removeCopied(from, source.version)
    return true
  }

  /** null: it is gone. */
  private async copy(
    from: string,
    to: string,
    known: Source | null,
  ): Promise<{ readonly source: Source; readonly version: string } | null> {
    let source = known
    for (let tries = 0; tries < COPY_TRIES; tries++) {
      source ??= await this.client.head(from)
      if (source === null) return null
      try {
        return { source, version: await this.copyOnce(from, to, source) }
      } catch (error) {
        const errno = error instanceof StorageError ? error.errno : null
        if (errno !== 'ESTALE' && errno !== 'ENOENT') throw error
        source = null
      }
    }
    throw new StorageError('EBUSY', `${from}: changed again and again meanwhile`, { retryable: true })
  }

  private copyOnce(from: string, to: string, source: Source): Promise<string> {
    if (!this.client.canCopy) return this.copyThrough(from, to, source)
    const { version, sizeBytes, keptHeaders } = source
    // What a rename replaces is whatever is there.
    const request = { condition: undefined, metadata: null, mayRepeat: true }
    const kept = keptHeaders === undefined ? {} : { keptHeaders }
    return this.client.copy({ key: from, version, sizeBytes, ...kept }, to, request)
  }

  /** Part by part through this process, for stores that can't do it themselves. */
  private async copyThrough(from: string, to: string, { version, sizeBytes }: Source): Promise<string> {
    const { partSizeBytes } = this.client.limits
    if (sizeBytes <= partSizeBytes) {
      const data = sizeBytes > 0 ? await this.client.read(from, 0, sizeBytes, version) : new Uint8Array(0)
      return this.client.put(to, data, {
        ...{ condition: undefined, metadata: {}, isMarker: to.endsWith('/') },
      })
    }
    const upload = await this.client.beginUpload(to, {})
    try {
      for (let number = 1, offset = 0; offset < sizeBytes; number++, offset += partSizeBytes) {
        const lengthBytes = Math.min(partSizeBytes, sizeBytes - offset)
        await upload.append(number, await this.client.read(from, offset, lengthBytes, version))
      }
      const stored = await upload.complete(undefined)
      await upload.finish()
      return stored
    } catch (error) {
      await upload.abort()
      throw error
    }
  }

  /** By the server's own condition, or after a look right before: what has come since stays. */
  private async removeCopied(key: string, version: string): Promise<void> {
    const kind = await this.probe.of('remove')
    if (kind !== 'server') {
      const present = await this.client.head(key)
      if (present?.version !== version) return
    }
    try {
      await this.client.delete(key, kind === 'look' ? undefined : version)
    } catch (error) {
      if (!(error instanceof StorageError) || error.errno !== 'ESTALE') throw error
    }
  }
}

function notThere(path: string): StorageError {
  return new StorageError('ENOENT', `${path}: not there`)
}

function targetOf(key: string, from: string, to: string): string {
  return to + key.slice(from.length)
}
