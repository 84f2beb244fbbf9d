/**
 * What the guest's kernel believes of a file's size. It keeps that for as long as it was told to, and reads no further: of a file that
 * others have replaced by a longer one meanwhile, a program would get a part. Nothing tells a kernel to forget, but ESTALE from
 * OPEN makes it look the path up again, with the attributes, and open once more (do_filp_open, LOOKUP_REVAL): measured on Linux 6.1 and 6.18.
 * It costs two requests, and only where something has changed.
 */
import { FsError } from './fs-error.js'
import type { Inode } from './inode.js'

/** The guest was told otherwise. */
export interface GuestSize {
  readonly bytes: number
  /** It was told to ask again, at an open. */
  readonly isAskedToLook: boolean
}

/** The store has the file with `sizeBytes` now, by others. */
export function noteReplaced(inode: Inode, sizeBytes: number): void {
  if (inode.guestSize !== null || inode.sizeBytes === sizeBytes) return
  inode.guestSize = { bytes: inode.sizeBytes, isAskedToLook: false }
}

/** The guest gets the file's attributes in a reply. */
export function noteTold(inode: Inode): void {
  inode.guestSize = null
}

/**
 * At an open: ESTALE where the guest is to look again. True where it has not, since there is no path that it could look up: then it must not
 * go by the size that it knows.
 */
export function mustReadDirectly(inode: Inode): boolean {
  const { guestSize } = inode
  if (guestSize === null || guestSize.bytes === inode.sizeBytes) return false
  if (guestSize.isAskedToLook) return true
  inode.guestSize = { ...guestSize, isAskedToLook: true }
  throw new FsError('ESTALE', 'the guest knows another size of the file')
}

/** ESTALE for a read through the guest's pages, of which the program would get no more than the guest takes the file to have. */
export function requireWholeRead(inode: Inode): void {
  const { guestSize, mount } = inode
  if (guestSize === null || guestSize.bytes >= inode.sizeBytes || mount.options.guestCache === 'none') return
  throw new FsError('ESTALE', 'the file was replaced by a longer one while it was open')
}
