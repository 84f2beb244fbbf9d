/** READDIR and READDIRPLUS. Offsets: 0 before ".", 1 before "..", 2 + i before entry i of the handle's snapshot. */
import type { DirectoryEntry } from '../backends/backend.js'
import type { Inode } from '../fs/inode.js'
import { resolveEntries, snapshotAt, type OpenDirectory, type Resolved } from '../fs/open-directory.js'
import { DirentWriter } from './dirent-writer.js'
import type { HandlerContext } from './handlers.js'
import type { Request } from './request.js'
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
    sizeBytes: Math.min(request.u32(16), request.replyCapacityBytes),
  }
}

export function readDirectory(context: HandlerContext, request: Request): void | Promise<void> {
  const args = decode(context, request)
  const snapshot = snapshotAt(context.fs, args.directory, args.offset)
  if (snapshot instanceof Promise) {
    return snapshot.then((entries) => {
      replyNames(request, args, entries)
    })
  }
  replyNames(request, args, snapshot)
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
  entries: readonly DirectoryEntry[],
): void {
  writer.begin(sizeBytes)
  const { inode } = directory
  let isFull = !addDots(directory, offset, (name, dot, next) => writer.addDirent(name, true, dot, next))
  for (let index = Math.max(0, offset - DOT_ENTRIES); index < entries.length && !isFull; index++) {
    const entry = entries[index]
    if (entry === undefined) break
    const child = inode.children?.get(entry.name) ?? null
    const isDirectory = entry.kind === 'directory'
    isFull = !writer.addDirent(entry.name, isDirectory, child, index + DOT_ENTRIES + 1)
  }
  finish(request, isFull)
}

/** Push what was written. EINVAL when not even one entry fits: an empty reply would read as the end. */
function finish(request: Request, isFull: boolean): void {
  if (writer.lengthBytes > 0) request.pushBytes(writer.bytes, writer.lengthBytes)
  else if (isFull) throw new FsError('EINVAL')
}

export function readDirectoryPlus(context: HandlerContext, request: Request): void | Promise<void> {
  const args = decode(context, request)
  const snapshot = snapshotAt(context.fs, args.directory, args.offset)
  const first = Math.max(0, args.offset - DOT_ENTRIES)
  if (snapshot instanceof Promise)
    return snapshot.then((entries) => replyPlus(context, request, args, entries, first))
  return replyPlus(context, request, args, snapshot, first)
}

/** Entries from index `first` on. A page whose entries are all gone by now is skipped: an empty reply would read as the end. */
function replyPlus(
  context: HandlerContext,
  request: Request,
  args: ReadArguments,
  snapshot: readonly DirectoryEntry[],
  first: number,
): void | Promise<void> {
  for (let start = first; ;) {
    const page = entriesThatMayFit(snapshot, start, args.sizeBytes)
    const next = start + page.length
    const isLast = next >= snapshot.length
    const inodes = resolveEntries(context.fs, args.directory, page)
    if (inodes instanceof Promise) {
      const pageStart = start
      return inodes.then((resolved) => {
        if (encodePlus(context, request, args, page, resolved, pageStart) || isLast) return
        return replyPlus(context, request, args, snapshot, next)
      })
    }
    if (encodePlus(context, request, args, page, inodes, start) || isLast) return
    start = next
  }
}

/** As many entries as could fit, but at least one if any is left: attributes of more need not be asked for. */
function entriesThatMayFit(
  snapshot: readonly DirectoryEntry[],
  first: number,
  sizeBytes: number,
): readonly DirectoryEntry[] {
  let bytes = 0
  let last = first
  while (last < snapshot.length && (last === first || bytes < sizeBytes)) {
    bytes += ENTRY_OUT_BYTES + DIRENT_HEADER_BYTES + (snapshot[last]?.name.length ?? 0)
    last++
  }
  return snapshot.slice(first, last)
}

/** Returns whether the reply has an entry. */
function encodePlus(
  context: HandlerContext,
  request: Request,
  { directory, offset, sizeBytes }: ReadArguments,
  page: readonly DirectoryEntry[],
  inodes: readonly Resolved[],
  first: number,
): boolean {
  if (request.epoch !== context.session.epoch) throw new FsError('EIO', 'the guest began a new session')
  const nowMs = performance.now()
  writer.begin(sizeBytes)
  let isFull = !addDots(directory, offset, (name, dot, next) =>
    writer.addDirentPlus(name, true, null, dot, next, nowMs),
  )
  for (const [index, { name, kind }] of page.entries()) {
    const inode = inodes[index]
    if (inode === null) continue
    isFull ||= !writer.hasRoomFor(Buffer.byteLength(name))
    if (isFull) break
    const next = first + index + DOT_ENTRIES + 1
    if (inode === undefined || (inode.isFixed && context.passthrough.find(inode) !== undefined)) {
      // The guest asks for it by LOOKUP.
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
