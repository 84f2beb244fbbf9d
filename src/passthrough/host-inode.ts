import type { Inode } from '../fs/inode.js'
import type { Descriptor } from './descriptor.js'
import { ATTR_WORDS } from './host-calls.js'
import type { HostMount } from './host-mount.js'

/** File type bits of st_mode. */
export const S_IFMT = 0o170000
export const S_IFDIR = 0o040000
export const S_IFREG = 0o100000
export const S_IFLNK = 0o120000

/** Words of a stat (struct fuse_attr). */
const INO_WORD = 0
const MODE_WORD = 15
const TWO_TO_32 = 2 ** 32

/** A file of the host that the guest has looked up. Its O_PATH descriptor is the file, whatever its names become. */
export class HostInode {
  /** What the guest knows it by, less PASSTHROUGH_NODEID_BASE. */
  index = 0
  generation = 0
  /** Look-ups the guest has not forgotten yet. */
  nlookup = 0
  readonly type: number
  /** Directories: their place in the tree of mounts, where mount points lie in or below them. */
  point: Inode | null = null
  /** The next one with the same `inoOf` in the mount's index. */
  next: HostInode | null = null
  /** What opens the file again where `descriptor` was let go of: see `KeptDescriptors`. */
  handle: Uint8Array | null = null
  /** It is where another file system of the host begins, and its mount is to say so. */
  isSubmount = false
  private identity: readonly number[]

  /** `stat`: of `descriptor`. null: a mount's root that could not be opened yet. */
  constructor(
    readonly mount: HostMount,
    public descriptor: Descriptor | null,
    stat: Uint32Array,
  ) {
    this.type = (stat[MODE_WORD] as number) & S_IFMT
    this.identity = [...identityOf(stat)]
  }

  get isDirectory(): boolean {
    return this.type === S_IFDIR
  }

  /** Whether the stat is of this file. */
  isOf(stat: Uint32Array): boolean {
    const { identity } = this
    return (
      identity[0] === stat[INO_WORD] &&
      identity[1] === stat[INO_WORD + 1] &&
      identity[2] === stat[ATTR_WORDS] &&
      identity[3] === stat[ATTR_WORDS + 1] &&
      identity[4] === stat[ATTR_WORDS + 2] &&
      identity[5] === stat[ATTR_WORDS + 3]
    )
  }

  /** A mount's root is known only when it is opened. */
  identify(stat: Uint32Array): void {
    this.identity = [...identityOf(stat)]
  }

  /** Whether both are of one file system, by one mount of the host. */
  isBeside({ identity }: HostInode): boolean {
    return this.identity.slice(2).every((word, index) => word === identity[index + 2])
  }

  /** Tells its file system and the mount of it on the host from others. */
  get fileSystem(): string {
    return this.identity.slice(2).join(':')
  }

  /** Of its file system: st_dev as one number. */
  get device(): number {
    return (this.identity[2] as number) * TWO_TO_32 + (this.identity[3] as number)
  }

  /** As `inoOf` of its stat. */
  get ino(): number {
    return (this.identity[0] as number) + (this.identity[1] as number) * TWO_TO_32
  }
}

function* identityOf(stat: Uint32Array): Generator<number> {
  yield stat[INO_WORD] as number
  yield stat[INO_WORD + 1] as number
  for (let word = ATTR_WORDS; word < ATTR_WORDS + 4; word++) yield stat[word] as number
}

/** The inode number as a double: above 2^53 several share one, which `isOf` tells apart. */
export function inoOf(stat: Uint32Array): number {
  return (stat[INO_WORD] as number) + (stat[INO_WORD + 1] as number) * TWO_TO_32
}
