import type { Inode } from '../fs/inode.js'
import { direntType, putAttr, putEntryOut } from './encode.js'
import { DIRENT_HEADER_BYTES, ENTRY_OUT_BYTES, FUSE_UNKNOWN_INO } from './fuse-abi.js'

const ALIGNMENT_BYTES = 8
/** fuse_entry_out.attr, and fuse_attr.mode in it. */
const ATTR_OF_ENTRY_WORD = 10
const MODE_WORD = 15
/** Of a directory whose attributes are not known here. */
const DIRECTORY_MODE = 0o040555
/** A kernel asks for at most a megabyte at a time. */
const LARGEST_REPLY_BYTES = 1 << 20

function padded(bytes: number): number {
  return (bytes + ALIGNMENT_BYTES - 1) & ~(ALIGNMENT_BYTES - 1)
}

/**
 * Builds the data of a READDIR or READDIRPLUS reply: entries one after the other, padded to 8 bytes, never more than
 * asked for. One for all: a reply is built and pushed without a pause.
 */
export class DirentWriter {
  readonly bytes = Buffer.alloc(LARGEST_REPLY_BYTES)
  private readonly words = new Uint32Array(this.bytes.buffer, this.bytes.byteOffset, LARGEST_REPLY_BYTES / 4)
  private limit = 0
  lengthBytes = 0

  begin(limitBytes: number): void {
    this.limit = Math.min(limitBytes, LARGEST_REPLY_BYTES)
    this.lengthBytes = 0
  }

  /** struct fuse_dirent. False when the entry does not fit any more. `nextOffset` is where a later READDIR goes on. */
  addDirent(name: string, isDirectory: boolean, inode: Inode | null, nextOffset: number): boolean {
    const nameBytes = Buffer.byteLength(name)
    const entryBytes = padded(DIRENT_HEADER_BYTES + nameBytes)
    if (this.lengthBytes + entryBytes > this.limit) return false
    this.putDirent(this.lengthBytes, name, nameBytes, isDirectory, inode, nextOffset)
    this.lengthBytes += entryBytes
    return true
  }

  /**
   * struct fuse_direntplus. With `inode` null the entry has nodeid 0 and does not count as looked up, as for "." and "..": Linux
   * then takes the name alone, Windows's driver the attributes of `shown`, or at least the type.
   */
  addDirentPlus(
    name: string,
    isDirectory: boolean,
    inode: Inode | null,
    shown: Inode | null,
    nextOffset: number,
    nowMs: number,
  ): boolean {
    const nameBytes = Buffer.byteLength(name)
    const entryBytes = ENTRY_OUT_BYTES + padded(DIRENT_HEADER_BYTES + nameBytes)
    if (this.lengthBytes + entryBytes > this.limit) return false
    const word = this.lengthBytes / 4
    this.words.fill(0, word, word + ENTRY_OUT_BYTES / 4)
    if (inode !== null) putEntryOut(this.words, word, inode, nowMs)
    else if (shown !== null) putAttr(this.words, word + ATTR_OF_ENTRY_WORD, shown)
    else if (isDirectory) this.words[word + ATTR_OF_ENTRY_WORD + MODE_WORD] = DIRECTORY_MODE
    this.putDirent(this.lengthBytes + ENTRY_OUT_BYTES, name, nameBytes, isDirectory, shown, nextOffset)
    this.lengthBytes += entryBytes
    return true
  }

  /** Whether a direntplus of a name this long still fits. */
  hasRoomFor(nameBytes: number): boolean {
    return this.lengthBytes + ENTRY_OUT_BYTES + padded(DIRENT_HEADER_BYTES + nameBytes) <= this.limit
  }

  private putDirent(
    position: number,
    name: string,
    nameBytes: number,
    isDirectory: boolean,
    inode: Inode | null,
    nextOffset: number,
  ): void {
    const word = position / 4
    const isKnown = inode !== null && inode.nodeid !== 0
    this.words[word] = isKnown ? inode.nodeid : FUSE_UNKNOWN_INO
    this.words[word + 1] = isKnown ? inode.generation : 0
    this.words[word + 2] = nextOffset
    this.words[word + 3] = 0
    this.words[word + 4] = nameBytes
    this.words[word + 5] = direntType(isDirectory)
    const start = position + DIRENT_HEADER_BYTES
    this.bytes.write(name, start)
    this.bytes.fill(0, start + nameBytes, position + padded(DIRENT_HEADER_BYTES + nameBytes))
  }
}
