/**
 * A file system of which a crash leaves this:
 *
 * - of a file, what it had at its last fsync or fdatasync; any of the writes since then, or none;
 * - of a directory, the names that it had at its last fsync; any of the changes since then, or none.
 *
 * So much is sure without an fsync, as on every file system with a journal: a rename is in both directories or in neither, changes
 * of one name are kept in their order, a directory is not removed before what was in it went, and what had a durable name is not
 * lost by a move to a directory that has none.
 */

interface Effect {
  readonly directory: Inode
  readonly name: string
  readonly inode: Inode | null
}

/** A change of names that may be lost. */
interface Change {
  readonly effects: readonly Effect[]
  /** What is kept if this is. */
  readonly needs: readonly Change[]
  readonly sequence: number
}

interface Write {
  readonly offset: number
  readonly data: string
  /** The length is what was asked for, not only where the data ends. */
  readonly truncatesTo: number | null
  readonly sequence: number
}

export class Inode {
  /** Names that are durable, and those that are there. */
  readonly durableEntries = new Map<string, Inode>()
  readonly entries = new Map<string, Inode>()
  /** What is durable, a character for each byte, and what is there. */
  durableText = ''
  text = ''
  writes: Write[] = []
  durableNames = 0

  constructor(readonly kind: 'file' | 'directory') {}
}

/** What there is after a crash, by path. null: a directory. */
export type Tree = ReadonlyMap<string, string | null>

/** Which of the things that are not durable a crash leaves. */
export interface Survival {
  readonly change: () => boolean
  readonly write: () => boolean
  /** How much of a write there is, of its bytes. */
  readonly share: () => number
}

export class CrashModel {
  readonly root = new Inode('directory')
  private pending: Change[] = []
  private sequence = 0

  /** Something that is there from the beginning. */
  plant(directory: Inode, name: string, inode: Inode): void {
    directory.entries.set(name, inode)
    directory.durableEntries.set(name, inode)
    inode.durableNames++
  }

  /** All in one step. */
  change(effects: readonly Effect[]): void {
    const needs = this.pending.filter((earlier) => effects.some((effect) => dependsOn(effect, earlier)))
    for (const effect of effects) {
      const moves = effect.inode !== null && effect.inode.durableNames > 0
      if (moves) needs.push(...this.linksOf(effect.directory))
      if (effect.inode === null) effect.directory.entries.delete(effect.name)
      else effect.directory.entries.set(effect.name, effect.inode)
    }
    this.pending.push({ effects, needs, sequence: ++this.sequence })
  }

  /** Removing a directory waits for what was in it. */
  removeDirectory(parent: Inode, name: string): void {
    const inode = parent.entries.get(name)
    const below = this.pending.filter(({ effects }) => effects.some(({ directory }) => directory === inode))
    this.change([{ directory: parent, name, inode: null }])
    const last = this.pending.pop()
    if (last !== undefined) this.pending.push({ ...last, needs: [...last.needs, ...below] })
  }

  /** The changes by which a directory got its place. */
  private linksOf(directory: Inode): Change[] {
    return this.pending.flatMap((change) => {
      const linking = change.effects.find(({ inode }) => inode === directory)
      return linking === undefined ? [] : [change, ...this.linksOf(linking.directory)]
    })
  }

  write(inode: Inode, offset: number, data: string, truncatesTo: number | null = null): void {
    const write = { offset, data, truncatesTo, sequence: ++this.sequence }
    inode.text = applied(inode.text, write)
    inode.writes.push(write)
  }

  /** An fsync begins: what was done up to now will be durable when it has ended. */
  get now(): number {
    return this.sequence
  }

  /** An fsync has ended that began at `since`. */
  synced(inode: Inode, since: number): void {
    for (const write of inode.writes)
      if (write.sequence <= since) inode.durableText = applied(inode.durableText, write)
    inode.writes = inode.writes.filter(({ sequence }) => sequence > since)
    for (const change of [...this.pending])
      if (change.sequence <= since && change.effects.some(({ directory }) => directory === inode))
        this.keep(change)
  }

  private keep(change: Change): void {
    if (!this.pending.includes(change)) return
    for (const needed of change.needs) this.keep(needed)
    this.pending = this.pending.filter((other) => other !== change)
    for (const { directory, name, inode } of change.effects) {
      const before = directory.durableEntries.get(name)
      if (before !== undefined) before.durableNames--
      if (inode === null) directory.durableEntries.delete(name)
      else {
        directory.durableEntries.set(name, inode)
        inode.durableNames++
      }
    }
  }

  /** What is there without a crash. */
  present(): Tree {
    return treeOf(
      this.root,
      ({ entries }) => entries,
      ({ text }) => text,
    )
  }

  afterCrash(survival: Survival): Tree {
    const kept = new Set<Change>()
    const changed = new Map<Inode, Map<string, Inode>>()
    for (const change of this.pending) {
      const isPossible = change.needs.every((needed) => kept.has(needed) || !this.pending.includes(needed))
      if (!isPossible || !survival.change()) continue
      kept.add(change)
      for (const { directory, name, inode } of change.effects) {
        const entries = changed.get(directory) ?? new Map(directory.durableEntries)
        changed.set(directory, entries)
        if (inode === null) entries.delete(name)
        else entries.set(name, inode)
      }
    }
    return treeOf(
      this.root,
      (directory) => changed.get(directory) ?? directory.durableEntries,
      (file) => textAfterCrash(file, survival),
    )
  }
}

function textAfterCrash({ writes, durableText }: Inode, survival: Survival): string {
  return writes.reduce((text, write) => {
    if (!survival.write()) return text
    const data = write.data.slice(0, Math.ceil(write.data.length * survival.share()))
    return applied(text, { ...write, data })
  }, durableText)
}

function dependsOn({ directory, name }: Effect, earlier: Change): boolean {
  return earlier.effects.some((effect) => effect.directory === directory && effect.name === name)
}

function applied(text: string, { offset, data, truncatesTo }: Write): string {
  if (truncatesTo !== null) return text.slice(0, truncatesTo).padEnd(truncatesTo, '\0')
  return text.slice(0, offset).padEnd(offset, '\0') + data + text.slice(offset + data.length)
}

function treeOf(
  root: Inode,
  entriesOf: (directory: Inode) => ReadonlyMap<string, Inode>,
  textOf: (file: Inode) => string,
): Tree {
  const tree = new Map<string, string | null>()
  // Each file once: two names of it show the same.
  const texts = new Map<Inode, string>()
  const walk = (directory: Inode, path: string): void => {
    for (const [name, inode] of entriesOf(directory)) {
      const at = path === '' ? name : `${path}/${name}`
      if (inode.kind === 'directory') {
        tree.set(at, null)
        walk(inode, at)
        continue
      }
      const text = texts.get(inode) ?? textOf(inode)
      texts.set(inode, text)
      tree.set(at, text)
    }
  }
  walk(root, '')
  return tree
}
