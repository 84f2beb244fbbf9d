import { constants } from 'node:os'
import { StorageError, type ErrnoName } from '../backends/storage-error.js'

/** A refusal by the file system itself; what a store refused is a StorageError. */
export class FsError extends Error {
  constructor(
    readonly errno: ErrnoName,
    message: string = errno,
  ) {
    super(message)
    this.name = 'FsError'
  }
}

/** The number of an errno, positive, as the host's headers have it (and the guest's: virtio-fs speaks Linux numbers). */
export function errnoNumber(name: ErrnoName): number {
  return constants.errno[name]
}

/** Any error -> the positive errno number that the guest is told. Unknown errors are EIO. */
export function errnoOf(error: unknown): number {
  if (error instanceof FsError || error instanceof StorageError) return errnoNumber(error.errno)
  return constants.errno.EIO
}
