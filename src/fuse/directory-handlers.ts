/** READDIR and READDIRPLUS. Offsets: 0 before ".", 1 before "..", 2 + i before the entry whose place is i. */
import type { DirectoryEntry } from '../backends/backend.js'
import type { Inode } from '../fs/inode.js'
import {
  indexAt,
  placeAt,
  portionAt,
  resolveEntries,
  shownAt,
  type OpenDirectory,
  type Portion,
  type Resolved,
} from '../fs/open-directory.js'
import { DirentWriter } from './dirent-writer.js'
import type { HandlerContext } from './handlers.js'
import type { Request } from './request.js'
import { MAX_WRITE_BYTES } from './session.js'
import { DIRENT_HEADER_BYTES, ENTRY_OUT_BYTES } from './fuse-abi.js'
import { FsError } from '../fs/fs-error.js'

const DOT_ENTRIES = 2
const READ_IN_BYTES = 40

const writer = new DirentWriter()

interface ReadArguments {
  readonly directory: OpenDirectory
  readonly offset: number
  readonly sizeBytes: number
}

function decode({ fs }: HandlerContext, request: Request): ReadArguments {
  request.require(READ_IN_BYTES, 0)
  return {
    directory: fs.directories.get(request.u64(0)),
    offset: request.u64(8),
    sizeBytes: Math.min(request.u32(16), request.replyCapacityBytes, MAX_WRITE_BYTES),
  }
}

export function readDirectory(context: HandlerContext, request: Request): void | Promise<void> {
  const args = decode(context, request)
  return inPortions(context, args, (portion, first) => {
    replyNames(request, args, portion, first)
    return writer.lengthBytes > 0
  })
}

/** Whether the request was answered by the entries of a portion from the one at `first` on. */
type Answer = (portion: Portion, first: number) => boolean | Promise<boolean>

/** Portion by portion until there is an answer: one whose entries are all gone by now is skipped, for an empty reply would read as the end. */
function inPortions(
  context: HandlerContext,
  { directory, offset }: ReadArguments,
  answer: Answer,
): void | Promise<void> {
  const from = Math.max(0, offset - DOT_ENTRIES)
  const portion = portionAt(context.fs, directory, from, offset === 0)
  if (portion instanceof Promise) return goOn(portion, from)
  const isDone = answer(portion, indexAt(portion, from))
  if (isDone === true || (isDone === false && portion.isLast)) return
  return goOn(portion, from, isDone)

  async function goOn(
    begun: Portion | Promise<Portion>,
    place: number,
    answered?: boolean | Promise<boolean>,
  ): Promise<void> {
    let current = await begun
    let isAnswered = await (answered ?? answer(current, indexAt(current, place)))
    while (!isAnswered && !current.isLast) {
      const next = current.start + current.entries.length
      current = await portionAt(context.fs, directory, next, false)
      isAnswered = await answer(current, indexAt(current, next))
    }
  }
}

/** "." and ".." from `offset` on; returns whether both are behind us. */
function addDots(
  directory: OpenDirectory,
  offset: number,
  add: (name: string, inode: Inode, next: number) => boolean,
): boolean {
  const { inode } = directory
  if (offset < 1 && !add('.', inode, 1)) return false
  return offset >= DOT_ENTRIES || add('..', inode.parent ?? inode, DOT_ENTRIES)
}

function replyNames(
  request: Request,
  { directory, offset, sizeBytes }: ReadArguments,
  portion: Portion,
  first: number,
): void {
  writer.begin(sizeBytes)
  const { inode } = directory
  let isFull = !addDots(directory, offset, (name, dot, next) => writer.addDirent(name, true, dot, next))
  for (let index = first; index < portion.entries.length && !isFull; index++) {
    const entry = shownAt(directory, portion, index)
    if (entry === null) continue
    const child = inode.children?.get(entry.name) ?? null
    const isDirectory = (child ?? entry).kind === 'directory'
    isFull = !writer.addDirent(entry.name, isDirectory, child, offsetBehind(portion, index))
  }
  finish(request, isFull)
}

function offsetBehind(portion: Portion, index: number): number {
  return placeAt(portion, index) + 1 + DOT_ENTRIES
}

/** Push what was written. EINVAL when not even one entry fits: an empty reply would read as the end. */
function finish(request: Request, isFull: boolean): void {
  if (writer.lengthBytes > 0) request.pushBytes(writer.bytes, writer.lengthBytes)
  else if (isFull) throw new FsError('EINVAL')
}

export function readDirectoryPlus(context: HandlerContext, request: Request): void | Promise<void> {
  const args = decode(context, request)
  return inPortions(context, args, (portion, first) => replyPlus(context, request, args, portion, first))
}

/** Entries of a portion, each with the offset behind it. */
interface Page {
  readonly entries: DirectoryEntry[]
  readonly nexts: number[]
  /** Behind them. */
  readonly end: number
}

/** The entries from `first` on, as many as the reply has room for. False where none of the portion's is there any more. */
function replyPlus(
  context: HandlerContext,
  request: Request,
  args: ReadArguments,
  portion: Portion,
  first: number,
): boolean | Promise<boolean> {
  for (let start = first; ;) {
    const page = entriesThatMayFit(args, portion, start)
    const isLast = page.end >= portion.entries.length
    const inodes = resolveEntries(context.fs, args.directory, page.entries, portion.asked)
    if (inodes instanceof Promise)
      return inodes.then((resolved) => {
        if (encodePlus(context, request, args, page, resolved)) return true
        return !isLast && replyPlus(context, request, args, portion, page.end)
      })
    if (encodePlus(context, request, args, page, inodes)) return true
    if (isLast) return false
    start = page.end
  }
}

/** As many entries as could fit, but at least one if any is left: attributes of more need not be asked for. */
function entriesThatMayFit({ directory, sizeBytes }: ReadArguments, portion: Portion, first: number): Page {
  const page: Page = { entries: [], nexts: [], end: 0 }
  let bytes = 0
  let index = first
  for (; index < portion.entries.length && (page.entries.length === 0 || bytes < sizeBytes); index++) {
    const entry = shownAt(directory, portion, index)
    if (entry === null) continue
    bytes += ENTRY_OUT_BYTES + DIRENT_HEADER_BYTES + entry.name.length
    page.entries.push(entry)
    page.nexts.push(offsetBehind(portion, index))
  }
  return { ...page, end: index }
}

/** Returns whether the reply has an entry. */
function encodePlus(
  context: HandlerContext,
  request: Request,
  { directory, offset, sizeBytes }: ReadArguments,
  page: Page,
  inodes: readonly Resolved[],
): boolean {
  if (request.epoch !== context.session.epoch) throw new FsError('EIO', 'the guest began a new session')
  const nowMs = performance.now()
  writer.begin(sizeBytes)
  let isFull = !addDots(directory, offset, (name, dot, next) =>
    writer.addDirentPlus(name, true, null, dot, next, nowMs),
  )
  for (const [index, { name, kind }] of page.entries.entries()) {
    const inode = inodes[index]
    if (inode === null) continue
    isFull ||= !writer.hasRoomFor(Buffer.byteLength(name))
    if (isFull) break
    const next = page.nexts[index] ?? 0
    const isHost = inode?.isFixed === true && context.passthrough.find(inode) !== undefined
    if (inode === undefined || isHost || !context.fs.inodes.mayGive(inode)) {
      // The guest asks for it by LOOKUP, which tells why it can't have it.
      writer.addDirentPlus(name, kind === 'directory', null, null, next, nowMs)
      continue
    }
    // The guest has looked it up by this reply, as if by LOOKUP.
    context.fs.inodes.countLookup(inode)
    writer.addDirentPlus(name, inode.isDirectory, inode, inode, next, nowMs)
  }
  finish(request, isFull)
  return writer.lengthBytes > 0
}
