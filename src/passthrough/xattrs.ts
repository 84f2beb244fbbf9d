import { FsError } from '../fs/fs-error.js'
import { checked } from './host-calls.js'
import type { HostInode } from './host-inode.js'
import { requireWritable, type NameBytes } from './names.js'
import type { Passthrough } from './passthrough.js'

/**
 * The host's access lists are the host's: the guest's kernel, which checks permissions by mode and owner, would not honour
 * them, and one that changed them would change who may do what on the host.
 */
const BLOCKED_PREFIX = 'system.posix_acl_'

/** EOPNOTSUPP where the mount does not offer them; ENOSYS, after which the guest never asks again, where no mount does. */
export function requireXattr(pt: Passthrough, inode: HostInode | null): void {
  if (inode?.mount.options.xattr === true) return
  throw new FsError(pt.offersXattr ? 'EOPNOTSUPP' : 'ENOSYS')
}

function requireAllowed({ bytes, start, length }: NameBytes): void {
  const prefix = Buffer.from(bytes.buffer, bytes.byteOffset + start, Math.min(length, BLOCKED_PREFIX.length))
  if (prefix.toString('latin1') === BLOCKED_PREFIX) throw new FsError('EOPNOTSUPP')
}

/** Returns the value's length, or an errno below 0: most are asked for and not there. `sizeBytes` 0 asks for the length. */
export function getXattr(
  pt: Passthrough,
  inode: HostInode,
  name: NameBytes,
  value: Uint8Array,
  sizeBytes: number,
): number {
  requireXattr(pt, inode)
  requireAllowed(name)
  return pt.calls.getXattr(pt.fdOf(inode), name.bytes, name.start, name.length, value, sizeBytes)
}

/** The names, each with its NUL, without those that the guest may not see. */
export function listXattr(pt: Passthrough, inode: HostInode, scratch: Buffer): Buffer {
  requireXattr(pt, inode)
  const length = checked(pt.calls.listXattr(pt.fdOf(inode), scratch, scratch.byteLength))
  const names = scratch.subarray(0, length)
  if (!names.includes(BLOCKED_PREFIX)) return names
  const shown = names
    .toString('latin1')
    .split('\0')
    .filter((name) => name !== '' && !name.startsWith(BLOCKED_PREFIX))
  return Buffer.from(shown.map((name) => `${name}\0`).join(''), 'latin1')
}

/** `flags`: XATTR_CREATE, XATTR_REPLACE. */
export function setXattr(
  pt: Passthrough,
  inode: HostInode,
  name: NameBytes,
  value: NameBytes,
  flags: number,
): void {
  requireXattr(pt, inode)
  requireWritable(inode.mount)
  requireAllowed(name)
  checked(
    pt.calls.setXattr(
      ...([pt.fdOf(inode), name.bytes, name.start, name.length] as const),
      ...([value.bytes, value.start, value.length, flags] as const),
    ),
  )
}

export function removeXattr(pt: Passthrough, inode: HostInode, name: NameBytes): void {
  requireXattr(pt, inode)
  requireWritable(inode.mount)
  requireAllowed(name)
  checked(pt.calls.removeXattr(pt.fdOf(inode), name.bytes, name.start, name.length))
}
