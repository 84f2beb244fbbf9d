import type { Backend } from '../backends/backend.js'
import { EmptyBackend } from '../backends/local/empty-backend.js'
import type { Staging } from '../cache/staging.js'
import { FsError } from './fs-error.js'
import { Inode } from './inode.js'
import { Mount, MOUNT_POINT_EXPIRATION_MS, type MountOptions } from './mount.js'

const VIRTUAL_OPTIONS: MountOptions = {
  name: '(root)',
  type: 'virtual',
  mountPoint: [],
  readOnly: true,
  uid: 0,
  gid: 0,
  fileMode: 0o444,
  dirMode: 0o755,
  expirationMs: MOUNT_POINT_EXPIRATION_MS,
  guestCache: 'auto',
}

/** What a mount is made of. */
export interface MountedStore {
  readonly options: MountOptions
  readonly backend: Backend
  readonly staging?: Staging | null
}

/**
 * The tree above the stores: virtual directories that lead to each mount point. Mounts come and go while a guest uses
 * the others; only the one at the root itself stays, since the guest holds the root's inode for as long as it lives.
 */
export class MountTable {
  readonly root: Inode
  private readonly mounted: Mount[] = []
  private readonly virtual = new Mount(VIRTUAL_OPTIONS, new EmptyBackend())

  constructor(stores: readonly MountedStore[]) {
    const mounts = stores.map(({ options, backend, staging }) => new Mount(options, backend, staging))
    const atRoot = mounts.find(({ options }) => options.mountPoint.length === 0)
    this.root = (atRoot ?? this.virtual).root
    if (atRoot !== undefined) this.mounted.push(atRoot)
    for (const mount of mounts) {
      if (mount !== atRoot) this.attach(mount)
    }
  }

  /** Those that are in the tree now. */
  get mounts(): readonly Mount[] {
    return this.mounted
  }

  /** The mount of this profile. */
  find(name: string): Mount | undefined {
    return this.mounted.find(({ options }) => options.name === name)
  }

  /**
   * Put the mount's root in its place, making virtual directories on the way. They cover what a store has by that name:
   * what is open of it can still be used, as below any mount point. EBUSY where another mount is.
   */
  attach(mount: Mount): void {
    const { mountPoint } = mount.options
    const last = mountPoint.at(-1)
    if (last === undefined) throw new FsError('EBUSY', 'the root itself is fixed')
    let directory = this.root
    for (const name of mountPoint.slice(0, -1)) directory = this.virtualChild(directory, name)
    const present = directory.children?.get(last)
    if (present?.isFixed === true) this.replaceVirtual(present, mount)
    else cover(directory, last, mount.root)
    this.mounted.push(mount)
  }

  /** Take the mount out of the tree: its names lead nowhere from now on. Mounts below it stay where they are. */
  detach(mount: Mount): void {
    const { root } = mount
    const { parent, name } = root
    if (parent === null) throw new FsError('EBUSY', 'the root itself is fixed')
    mount.isRemoved = true
    this.mounted.splice(this.mounted.indexOf(mount), 1)
    parent.removeChild(name, root)
    root.parent = null
    const mountsBelow = [...(root.children ?? [])].filter(([, child]) => child.isFixed)
    if (mountsBelow.length === 0) {
      parent.touch()
      this.removeEmptyVirtual(parent)
      return
    }
    const directory = this.virtualChild(parent, name)
    for (const [childName, child] of mountsBelow) {
      root.removeChild(childName, child)
      directory.addChild(childName, child, 0)
    }
  }

  private virtualChild(directory: Inode, name: string): Inode {
    const present = directory.children?.get(name)
    if (present?.isFixed === true) return present
    const child = new Inode(this.virtual, directory, name, 'directory')
    child.isFixed = true
    cover(directory, name, child)
    return child
  }

  /** "a/b" was mounted before "a": the virtual "a" makes way and its children move over. */
  private replaceVirtual(present: Inode, mount: Mount): void {
    const { parent, name } = present
    if (present.mount !== this.virtual || parent === null) {
      throw new FsError('EBUSY', `${mount.options.mountPoint.join('/')} is mounted twice`)
    }
    for (const [childName, child] of [...(present.children ?? [])]) {
      present.removeChild(childName, child)
      mount.root.addChild(childName, child, 0)
    }
    retire(present)
    cover(parent, name, mount.root)
  }

  /** Virtual directories that lead to no mount any more go with the last one. */
  private removeEmptyVirtual(inode: Inode): void {
    let current: Inode = inode
    while (current.mount === this.virtual && current !== this.root && current.children?.size === 0) {
      const { parent } = current
      retire(current)
      if (parent === null) return
      parent.touch()
      current = parent
    }
  }
}

/** What stood there by that name can only be reached by what is open of it. */
function cover(directory: Inode, name: string, child: Inode): void {
  directory.addChild(name, child, 0)
  directory.touch()
}

/** The guest may still hold the virtual directory; it is a removed one now, and freed when it is forgotten. */
function retire(directory: Inode): void {
  directory.parent?.removeChild(directory.name, directory)
  directory.isFixed = false
  directory.isUnlinked = true
}
