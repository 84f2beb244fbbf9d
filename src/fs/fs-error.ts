import { constants } from 'node:os'
import { getSystemErrorName } from 'node:util'
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

/**
 * A refusal by the host's own file system, handed on to the guest. ENOSYS becomes EOPNOTSUPP: the guest's kernel would
 * never ask for the operation again, on no mount.
 */
export class HostError extends Error {
  /** Positive. */
  readonly errno: number

  constructor(errno: number) {
    super(getSystemErrorName(-errno))
    this.name = 'HostError'
    this.errno = errno === constants.errno.ENOSYS ? constants.errno.EOPNOTSUPP : errno
  }
}

/** The number of an errno, positive, as the host's headers have it (and the guest's: virtio-fs speaks Linux numbers). */
export function errnoNumber(name: ErrnoName): number {
  return constants.errno[name]
}

/** Any error -> the positive errno number that the guest is told. Unknown errors are EIO. */
export function errnoOf(error: unknown): number {
  if (error instanceof HostError) return error.errno
  if (error instanceof FsError || error instanceof StorageError) return errnoNumber(error.errno)
  return constants.errno.EIO
}
