/** The entries of one directory, as the pages of a listing tell them one after the other. */
import {
  RESERVED_DIRECTORY,
  type DirectoryEntry,
  type DirectoryPage,
  type EntryKind,
  type ObjectStat,
} from '../backend.js'
import { StorageError } from '../storage-error.js'
import { canBeShown } from '../shown-names.js'
import { LIST_START, type ListPlace } from './listing.js'
import type { ListedObject, ObjectPage } from './object-client.js'

/** Between two pages of a directory: all that has to be known of those before it. */
interface DirectoryPlace extends ListPlace {
  /**
   * Names of objects that a later page may repeat as those of directories: the list goes by the bytes of keys, and between "a" and "a/"
   * there are all that begin with "a" and go on with less than "/". So these begin each other, and are few.
   */
  readonly shadowing: readonly string[]
  /** Names that no file can have: how many there were, and the key of one. */
  readonly unlistable: number
  readonly example: string
}

const START: DirectoryPlace = { ...LIST_START, shadowing: [], unlistable: 0, example: '' }

/** What one page adds to a directory. */
export class DirectoryPages {
  private readonly entries = new Map<string, DirectoryEntry>()
  private readonly place: DirectoryPlace
  /** Names that no file can have, up to the end of this page. */
  unlistable: number
  example: string

  /** `token`: what `end` has told of the page before. */
  constructor(
    private readonly path: string,
    token: string | null,
    private readonly statOf: (object: ListedObject) => ObjectStat | null,
    private readonly directoryStat: ObjectStat | null,
  ) {
    this.place = token === null ? START : parsePlace(token)
    this.unlistable = this.place.unlistable
    this.example = this.place.example
  }

  get listPlace(): ListPlace {
    return this.place
  }

  /** Where both an object "a" and keys below "a/" are, the object is seen. */
  add({ objects, prefixes }: ObjectPage, next: ListPlace | null): DirectoryPage {
    for (const prefix of prefixes) this.addName(prefix, 'directory', this.directoryStat)
    for (const object of objects)
      this.addName(object.key, isDirectory(object) ? 'directory' : 'file', this.statOf(object))
    for (const name of this.place.shadowing) this.entries.delete(name)
    const entries = [...this.entries.values()]
    if (next === null) return { entries, next: null }
    const { unlistable, example } = this
    const place: DirectoryPlace = {
      ...next,
      shadowing: this.shadowing({ objects, prefixes }),
      unlistable,
      example,
    }
    return { entries, next: JSON.stringify(place) }
  }

  private addName(key: string, kind: EntryKind, stat: ObjectStat | null): void {
    const relative = this.nameOf(key)
    // The directory's own marker.
    if (relative === '') return
    const name = relative.endsWith('/') ? relative.slice(0, -1) : relative
    if (this.path === '' && name === RESERVED_DIRECTORY) return
    if (!canBeShown(name)) {
      this.unlistable++
      this.example = key
      return
    }
    if (kind === 'file' || !this.entries.has(name)) this.entries.set(name, { name, kind, stat })
  }

  private nameOf(key: string): string {
    return key.slice(prefixOf(this.path).length)
  }

  private shadowing({ objects, prefixes }: Pick<ObjectPage, 'objects' | 'prefixes'>): string[] {
    const last = [objects.at(-1)?.key, prefixes.at(-1)].filter((key) => key !== undefined)
    if (last.length === 0) return [...this.place.shadowing]
    const names = [...this.place.shadowing, ...objects.map(({ key }) => this.nameOf(key))]
    return names.filter(
      (name) => name !== '' && !name.endsWith('/') && last.some((key) => this.nameOf(key).startsWith(name)),
    )
  }
}

function parsePlace(token: string): DirectoryPlace {
  try {
    return JSON.parse(token) as DirectoryPlace
  } catch (cause) {
    throw new StorageError('EINVAL', 'no page of a listing has this token', { cause })
  }
}

/** What the keys of the directory begin with. */
export function prefixOf(directory: string): string {
  return directory === '' ? '' : markerKey(directory)
}

export function isDirectory({ key, isMarker }: ListedObject): boolean {
  return isMarker === true || key.endsWith('/')
}

export function markerKey(directory: string): string {
  return `${directory}/`
}
