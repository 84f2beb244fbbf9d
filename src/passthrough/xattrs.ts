import { FsError } from '../fs/fs-error.js'
import { checked } from './host-calls.js'
import type { HostInode } from './host-inode.js'
import { requireWritable, type NameBytes } from './names.js'
import type { Passthrough } from './passthrough.js'

/**
 * Without `posix_acl` the host's access lists are the host's: the guest's kernel, which checks permissions by mode and owner then,
 * would not honour them, and one that changed them would change who may do what on the host.
 */
const ACL_PREFIX = 'system.posix_acl_'

/** EOPNOTSUPP where the mount does not offer them; ENOSYS, after which the guest never asks again, where no mount does. */
export function requireXattr(pt: Passthrough, inode: HostInode | null): void {
  if (inode?.mount.options.xattr === true) return
  throw new FsError(pt.has('xattr') ? 'EOPNOTSUPP' : 'ENOSYS')
}

/** The name on the host. EPERM or EOPNOTSUPP for one that the guest may not use. */
function hostNameOf({ mount }: HostInode, name: NameBytes): NameBytes {
  const { posixAcl, xattrMap } = mount.options
  if (posixAcl && xattrMap === null) return name
  const text = textOf(name)
  if (!posixAcl && text.startsWith(ACL_PREFIX)) throw new FsError('EOPNOTSUPP')
  if (xattrMap === null) return name
  const mapped = xattrMap.toHost(text)
  if ('refused' in mapped) throw new FsError(mapped.refused)
  const bytes = Buffer.from(mapped.name, 'latin1')
  return { bytes, start: 0, length: bytes.byteLength }
}

/** Any bytes but NUL: each is a character. */
function textOf({ bytes, start, length }: NameBytes): string {
  return Buffer.from(bytes.buffer, bytes.byteOffset + start, length).toString('latin1')
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
  const host = hostNameOf(inode, name)
  return pt.calls.getXattr(pt.fdOf(inode), host.bytes, host.start, host.length, value, sizeBytes)
}

/** The names, each with its NUL, without those that the guest may not see. */
export function listXattr(pt: Passthrough, inode: HostInode, scratch: Buffer): Buffer {
  requireXattr(pt, inode)
  const length = checked(pt.calls.listXattr(pt.fdOf(inode), scratch, scratch.byteLength))
  const names = scratch.subarray(0, length)
  const { posixAcl, xattrMap } = inode.mount.options
  if (xattrMap === null && (posixAcl || !names.includes(ACL_PREFIX))) return names
  const shown: string[] = []
  for (const name of names.toString('latin1').split('\0')) {
    const seen = name === '' ? null : xattrMap === null ? name : xattrMap.toGuest(name)
    if (seen !== null && seen !== '' && (posixAcl || !seen.startsWith(ACL_PREFIX))) shown.push(seen)
  }
  return Buffer.from(shown.map((name) => `${name}\0`).join(''), 'latin1')
}

/** `flags`: XATTR_CREATE, XATTR_REPLACE, KILLING_IDS. */
export function setXattr(
  pt: Passthrough,
  inode: HostInode,
  name: NameBytes,
  value: NameBytes,
  flags: number,
): void {
  requireXattr(pt, inode)
  requireWritable(inode.mount)
  const host = hostNameOf(inode, name)
  checked(
    pt.calls.setXattr(
      ...([pt.fdOf(inode), host.bytes, host.start, host.length] as const),
      ...([value.bytes, value.start, value.length, flags] as const),
    ),
  )
}

export function removeXattr(pt: Passthrough, inode: HostInode, name: NameBytes): void {
  requireXattr(pt, inode)
  requireWritable(inode.mount)
  const host = hostNameOf(inode, name)
  checked(pt.calls.removeXattr(pt.fdOf(inode), host.bytes, host.start, host.length))
}
