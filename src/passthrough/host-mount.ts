import type { GuestCache, Mount } from '../fs/mount.js'
import { HostInode, inoOf, S_IFDIR } from './host-inode.js'
import { BlindWrites } from './blind-writes.js'
import { STAT_WORDS, type HostCalls } from './host-calls.js'
import type { IdTranslation } from './id-translation.js'
import type { XattrMap } from './xattr-map.js'

export interface HostMountOptions {
  /** An absolute path of the host. */
  readonly root: string
  /** Extended attributes are the guest's to use. */
  readonly xattr: boolean
  /** O_DIRECT is handed on to the host. */
  readonly directIo: boolean
  /** The guest is told where another file system of the host begins. */
  readonly announceSubmounts: boolean
  /** Access lists are the guest's to use and to obey; implies `xattr`. */
  readonly posixAcl: boolean
  /** What the guest makes gets the label that its kernel sends along; implies `xattr`. */
  readonly securityLabel: boolean
  /** The host takes set-user-ID bits and capabilities of files away, and the guest's kernel need not look for them. */
  readonly killprivV2: boolean
  /** Files that the guest does not cache may be mapped to be written all the same. */
  readonly allowMmap: boolean
  /** Listings may bring attributes. */
  readonly readdirplus: boolean
  /** O_NOATIME is handed on to the host. */
  readonly preserveNoatime: boolean
  /** null: names of extended attributes are the same on both sides. */
  readonly xattrMap: XattrMap | null
  /** null: ids of users are the same on both sides. */
  readonly uids: IdTranslation | null
  readonly gids: IdTranslation | null
  readonly fileHandles: FileHandles
}

/** Whether inodes may do without a descriptor: not; where the file system and the daemon's rights allow it; or nothing is served. */
export type FileHandles = 'never' | 'prefer' | 'mandatory'

/** As without any option of a profile. */
export const PLAIN_HOST_OPTIONS: Omit<HostMountOptions, 'root'> = {
  xattr: false,
  directIo: false,
  announceSubmounts: false,
  posixAcl: false,
  securityLabel: false,
  killprivV2: false,
  allowMmap: false,
  readdirplus: true,
  preserveNoatime: false,
  xattrMap: null,
  uids: null,
  gids: null,
  fileHandles: 'prefer',
}

/** Those of the options that are on or off. */
export type HostMountSwitch = {
  [Key in keyof HostMountOptions]: HostMountOptions[Key] extends boolean ? Key : never
}[keyof HostMountOptions]

const MODE_WORD = 15

function translatesIds({ uids, gids }: HostMountOptions): boolean {
  return uids !== null || gids !== null
}

/** A directory of the host in its place in the tree of mounts. */
export class HostMount {
  readonly root: HostInode
  /** A reload took the mount away: nothing new begins on it. */
  isRemoved = false
  readonly blindWrites = new BlindWrites()
  private readonly byIno = new Map<number, HostInode>()
  /** By file system, of those of which a file was closed: see `tellsAtClose`. */
  private readonly tellingAtClose = new Map<number, boolean>()

  options: HostMountOptions
  /** Owners are others on the host than in the guest: by `options`, kept for the replies. */
  translatesIds: boolean

  constructor(
    /** Its place in the tree; holds what all kinds of mounts have. */
    readonly place: Mount,
    options: HostMountOptions,
  ) {
    this.options = options
    this.translatesIds = translatesIds(options)
    const stat = new Uint32Array(STAT_WORDS)
    stat[MODE_WORD] = S_IFDIR
    this.root = new HostInode(this, null, stat)
    this.root.point = place.root
  }

  change(options: HostMountOptions): void {
    this.options = options
    this.translatesIds = translatesIds(options)
  }

  get readOnly(): boolean {
    return this.place.options.readOnly
  }

  get guestCache(): GuestCache {
    return this.place.options.guestCache
  }

  /** How long the guest may believe names and attributes, ms. */
  get timeToLiveMs(): number {
    const { guestCache, expirationMs } = this.place.options
    if (guestCache === 'none') return 0
    return guestCache === 'always' ? Infinity : expirationMs
  }

  /** The inode that the guest knows already of the file that `stat` tells of. */
  find(stat: Uint32Array): HostInode | null {
    let inode = this.byIno.get(inoOf(stat)) ?? null
    while (inode !== null && !inode.isOf(stat)) inode = inode.next
    return inode
  }

  /** Whether closing a file of the inode's file system, which `fd` is of, may tell an error. */
  tellsAtClose(calls: HostCalls, { device }: HostInode, fd: number): boolean {
    let tells = this.tellingAtClose.get(device)
    if (tells === undefined) {
      tells = calls.tellsAtClose(fd) !== 0
      this.tellingAtClose.set(device, tells)
    }
    return tells
  }

  addToIndex(inode: HostInode): void {
    inode.next = this.byIno.get(inode.ino) ?? null
    this.byIno.set(inode.ino, inode)
  }

  removeFromIndex(inode: HostInode): void {
    const first = this.byIno.get(inode.ino)
    if (first === undefined) return
    if (first === inode) {
      if (inode.next === null) this.byIno.delete(inode.ino)
      else this.byIno.set(inode.ino, inode.next)
      return
    }
    for (let before = first; before.next !== null; before = before.next) {
      if (before.next !== inode) continue
      before.next = inode.next
      return
    }
  }
}
