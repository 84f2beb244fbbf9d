/**
 * What was promised of a host directory: an acknowledged file has its contents, its name and the way to it, or what a later step
 * has made of it; changes of names are there when `syncNames`, or a file that was stored in the same directory, was acknowledged.
 */
import type { Tree } from './crash-model.js'
import { contentsOf, nameOf, parentOf, type Mark, type Step } from './steps.js'

/** Where a name was put, or that it went (no directory). */
interface NameEvent {
  readonly directory: Entry | null
  readonly name: string
  /** Of the step. */
  readonly id: number
}

/** What names of one file have in common. */
interface Contents {
  readonly versions: string[]
  /** The last one that is promised. */
  promised: number
  /** Changed where it is, by a step that is under way. */
  inPlace: { readonly kind: 'append' | 'overwrite'; readonly before: string; readonly after: string } | null
}

/** A file's name or a directory, wherever it went. */
class Entry {
  readonly events: NameEvent[] = []
  /** The last event that is promised. -1: not even that it was made. */
  promised = -1

  /** null: a directory. */
  constructor(readonly contents: Contents | null) {}

  get last(): NameEvent | undefined {
    return this.events.at(-1)
  }

  get isGone(): boolean {
    return this.last?.directory === null
  }

  /** What is still possible, of the time after a crash. */
  get possible(): readonly NameEvent[] {
    return this.events.slice(Math.max(this.promised, 0))
  }

  get mayBeAbsent(): boolean {
    return this.promised < 0 || this.possible.some(({ directory }) => directory === null)
  }

  paths(): string[] {
    if (this.events.length === 0) return ['']
    return this.possible.flatMap(({ directory, name }) =>
      (directory?.paths() ?? []).map((path) => (path === '' ? name : `${path}/${name}`)),
    )
  }
}

interface Underway {
  readonly step: Step
  /** Steps that had ended when this one began. */
  readonly ended: ReadonlySet<number>
}

const RESERVED = '.ovfsd'
/** Of what was there before. */
const BEFORE = 0

export class Promises {
  private readonly root = new Entry(null)
  private readonly entries: Entry[] = []
  private readonly ended = new Set<number>([BEFORE])
  private readonly underway = new Map<number, Underway>()
  private expected: { readonly entry: Entry; readonly paths: ReadonlySet<string> }[] | null = null

  constructor(tree: Tree, links: readonly (readonly string[])[]) {
    const shared = new Map<string, Contents>()
    for (const [path, text] of tree) {
      const group = links.find((names) => names.includes(path))?.[0] ?? path
      const contents = text === null ? null : (shared.get(group) ?? { ...newContents(text), promised: 0 })
      if (contents !== null) shared.set(group, contents)
      const entry = new Entry(contents)
      entry.events.push({ directory: this.at(parentOf(path)), name: nameOf(path), id: BEFORE })
      entry.promised = 0
      this.entries.push(entry)
    }
  }

  /** What is at the path when all steps are done that have begun. */
  private find(path: string): Entry | undefined {
    if (path === '') return this.root
    const directory = this.find(parentOf(path))
    return this.entries.find(({ last }) => last?.directory === directory && last?.name === nameOf(path))
  }

  private at(path: string): Entry {
    const entry = this.find(path)
    if (entry === undefined) throw new Error(`the program has lost ${path}`)
    return entry
  }

  told(mark: Mark): void {
    this.expected = null
    if (mark.mark === 'begin') {
      this.underway.set(mark.step.id, { step: mark.step, ended: new Set(this.ended) })
      this.begin(mark.step)
      return
    }
    const underway = this.underway.get(mark.id)
    if (underway === undefined) throw new Error(`step ${mark.id} ends before it begins`)
    this.end(underway)
    this.underway.delete(mark.id)
    this.ended.add(mark.id)
  }

  private begin({ id, kind, path, other = '', sizeBytes = 0 }: Step): void {
    if (path === null || kind === 'sync') return
    const place = (at: string): NameEvent => ({ directory: this.at(parentOf(at)), name: nameOf(at), id })
    if (kind === 'mkdir') this.make(place(path), null)
    else if (kind === 'store') this.store(place(path), path, contentsOf(id, sizeBytes))
    else if (kind === 'copy') this.store(place(path), path, this.at(other).contents?.versions.at(-1) ?? '')
    else if (kind === 'append') this.append(path, contentsOf(id, sizeBytes))
    else if (kind === 'rename') {
      const moved = this.at(path)
      this.find(other)?.events.push({ directory: null, name: '', id })
      moved.events.push(place(other))
    } else this.at(path).events.push({ directory: null, name: '', id })
  }

  private make(event: NameEvent, contents: Contents | null): void {
    const entry = new Entry(contents)
    entry.events.push(event)
    this.entries.push(entry)
  }

  private store(event: NameEvent, path: string, text: string): void {
    const contents = this.find(path)?.contents ?? null
    if (contents === null) {
      this.make(event, newContents(text))
      return
    }
    const names = this.entries.filter((entry) => entry.contents === contents)
    const before = contents.versions.at(-1) ?? ''
    // A name that went may have been there still.
    if (names.length > 1) contents.inPlace = { kind: 'overwrite', before, after: text }
    contents.versions.push(text)
  }

  private append(path: string, text: string): void {
    const { contents } = this.at(path)
    const before = contents?.versions.at(-1) ?? ''
    if (contents === null) return
    contents.inPlace = { kind: 'append', before, after: before + text }
    contents.versions.push(before + text)
  }

  private end({ step, ended }: Underway): void {
    if (step.kind === 'sync') {
      if (step.path === null)
        this.entries.forEach((entry) => {
          this.promise(entry, ended)
        })
      else this.promiseNamesIn(this.at(step.path), ended)
      return
    }
    const entry = step.path === null || !isContents(step) ? undefined : this.at(step.path)
    if (entry?.contents == null) return
    entry.contents.promised = entry.contents.versions.length - 1
    entry.contents.inPlace = null
    entry.promised = entry.events.length - 1
    const directory = entry.last?.directory
    if (directory != null) this.promiseNamesIn(directory, ended)
  }

  private promiseNamesIn(directory: Entry, ended: ReadonlySet<number>): void {
    for (const entry of this.entries)
      if (entry.events.some((event, index) => placeOf(entry, event, index) === directory))
        this.promise(entry, ended, directory)
    for (let above: Entry | null | undefined = directory; above != null; above = above.last?.directory)
      this.promise(above, ended)
  }

  /** All that had become of the entry when the step began, or all of it that was in one directory. */
  private promise(entry: Entry, ended: ReadonlySet<number>, directory: Entry | null = null): void {
    entry.events.forEach((event, index) => {
      const isThere = directory === null || placeOf(entry, event, index) === directory
      if (isThere && ended.has(event.id)) entry.promised = Math.max(entry.promised, index)
    })
  }

  /** What is wrong with what a crash has left; null: nothing. */
  fault(tree: Tree): string | null {
    this.expected ??= this.entries.map((entry) => ({ entry, paths: new Set(entry.paths()) }))
    const explained = new Set<string>([RESERVED])
    for (const { entry, paths } of this.expected) {
      const found = [...paths].filter((path) => isRight(entry, tree, path))
      if (found.length === 0 && !entry.mayBeAbsent) return this.lost(entry, [...paths], tree)
      for (const path of found) explained.add(path)
    }
    for (const [path, text] of tree)
      if (!explained.has(path) && !path.startsWith(`${RESERVED}/`))
        return `${path} is nothing that it ever was: ${shown(text)}`
    return null
  }

  private lost(entry: Entry, paths: readonly string[], tree: Tree): string {
    const there = paths.map(
      (path) => `${path} is ${tree.has(path) ? shown(tree.get(path) ?? null) : 'missing'}`,
    )
    const wanted =
      entry.contents === null
        ? 'a directory'
        : entry.contents.versions.slice(entry.contents.promised).map(shown).join(' or ')
    return `${wanted} was promised, but ${there.join(', ')}`
  }
}

function newContents(text: string): Contents {
  return { versions: [text], promised: -1, inPlace: null }
}

function isContents({ kind }: Step): boolean {
  return kind === 'store' || kind === 'append' || kind === 'copy'
}

/** Where the event shows: the directory that it put a name in, or that it took it from. */
function placeOf({ events }: Entry, event: NameEvent, index: number): Entry | null {
  return event.directory ?? events[index - 1]?.directory ?? null
}

function isRight(entry: Entry, tree: Tree, path: string): boolean {
  const text = tree.get(path)
  const { contents } = entry
  if (text === undefined || (contents === null) !== (text === null)) return false
  if (contents === null || text === null) return true
  const version = contents.versions.lastIndexOf(text)
  // A name that comes back shows what it had, whatever has become of the file by its other names.
  if (version >= (entry.isGone ? 0 : contents.promised) && version >= 0) return true
  return contents.inPlace !== null && isHalfDone(contents.inPlace, text, tree)
}

function isHalfDone(
  { kind, before, after }: NonNullable<Contents['inPlace']>,
  text: string,
  tree: Tree,
): boolean {
  if (kind === 'append') return text.startsWith(before) && text.length <= after.length
  // The new contents are beside it, whole.
  return [...tree].some(([path, beside]) => path.startsWith(`${RESERVED}/`) && beside === after)
}

function shown(text: string | null): string {
  return text === null ? 'a directory' : `${text.slice(0, 24)}... (${text.length})`
}
