/** Changing what is kept beside an object's contents, whichever version they are. */
import type { AttributeChanges, AttributesChanged, EntryKind } from '../backend.js'
import { StorageError, toStorageError } from '../storage-error.js'
import { timestampNow } from '../timestamp.js'
import type { ConditionProbe } from './condition-probe.js'
import type { DirectoryMarkers } from './directory-markers.js'
import { markerKey } from './directory-pages.js'
import { changeMetadata, storedStat, withAttributes, type Metadata } from './file-attributes.js'
import type { ObjectClient, ObjectHead } from './object-client.js'
import { DIRECTORY, isConflict } from './object-store.js'

/** Tries to change an object's attributes that somebody else keeps changing too. */
const CHANGE_TRIES = 5
const EMPTY = new Uint8Array(0)

export class ObjectAttributes {
  constructor(
    private readonly client: ObjectClient,
    private readonly probe: ConditionProbe,
    private readonly markers: DirectoryMarkers,
  ) {}

  async change(path: string, kind: EntryKind, changes: AttributeChanges): Promise<AttributesChanged> {
    const key = kind === 'file' ? path : markerKey(path)
    for (let tries = 0; tries < CHANGE_TRIES; tries++) {
      const head = await this.client.head(key)
      if (head === null && kind === 'file') throw new StorageError('ENOENT', `${path}: not there`)
      try {
        return head === null
          ? await this.makeMarker(path, changes)
          : await this.changeMetadata(key, head, kind, changes)
      } catch (error) {
        if (!isConflict(error)) throw error
      }
    }
    throw new StorageError('EBUSY', `${path}: changed again and again meanwhile`, { retryable: true })
  }

  private async changeMetadata(
    key: string,
    head: ObjectHead,
    kind: EntryKind,
    changes: AttributeChanges,
  ): Promise<AttributesChanged> {
    const mtime = head.mtime ?? timestampNow()
    const { metadata, attributes } = changeMetadata(head.metadata, kind, changes, mtime)
    const version = await this.sendMetadata(key, head, metadata)
    const stat =
      kind === 'file'
        ? storedStat(head.sizeBytes, version, attributes)
        : withAttributes(DIRECTORY, attributes)
    return { previousVersion: head.version, stat }
  }

  /** A change whose answer was lost is done if all of it is there. */
  private async sendMetadata(key: string, head: ObjectHead, metadata: Metadata): Promise<string> {
    try {
      return await this.client.setMetadata(key, head, metadata)
    } catch (error) {
      if (toStorageError(error).outcome !== 'unknown') throw error
      const present = await this.client.head(key).catch(() => null)
      const isDone = present?.sizeBytes === head.sizeBytes && isSame(present.metadata, metadata)
      if (!isDone) throw error
      return present.version
    }
  }

  /** A directory that only the names below it made one. */
  private async makeMarker(path: string, changes: AttributeChanges): Promise<AttributesChanged> {
    const { metadata, attributes } = changeMetadata({}, 'directory', changes, timestampNow())
    const kind = await this.probe.of('create')
    const condition = kind === 'look' ? undefined : null
    await this.client.put(markerKey(path), EMPTY, { condition, metadata, isMarker: true })
    this.markers.note(path)
    return { previousVersion: '', stat: withAttributes(DIRECTORY, attributes) }
  }
}

function isSame(one: Metadata, other: Metadata): boolean {
  const names = Object.keys(one)
  return names.length === Object.keys(other).length && names.every((name) => one[name] === other[name])
}
