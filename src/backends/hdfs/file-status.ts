/** What a NameNode tells of a file or directory. */
import type { ObjectStat } from '../backend.js'
import { StorageError } from '../storage-error.js'

const MILLISECONDS_PER_SECOND = 1000
export const NANOSECONDS_PER_MILLISECOND = 1e6

/** As HDFS shows it in JSON. */
export interface FileStatus {
  /** The name in a listing. */
  readonly pathSuffix: string
  readonly type: 'FILE' | 'DIRECTORY' | 'SYMLINK'
  /** Bytes. */
  readonly length: number
  /** Milliseconds since the epoch. */
  readonly modificationTime: number
  readonly fileId: number
  readonly owner: string
  readonly group: string
  /** Octal digits. */
  readonly permission: string
  readonly replication: number
}

/** Of what a server sent in place of a status, this much goes into the message. */
const MAX_SHOWN_CHARACTERS = 200

/** A length that is missing is not 0. */
export function parseStatus(value: unknown): FileStatus {
  const { pathSuffix, length, modificationTime } = (value ?? {}) as Partial<FileStatus>
  if (typeof pathSuffix === 'string' && isCount(length) && isCount(modificationTime))
    return value as FileStatus
  const shown = JSON.stringify(value ?? null).slice(0, MAX_SHOWN_CHARACTERS)
  throw new StorageError('EIO', `the NameNode told no status of a file: ${shown}`, { retryable: true })
}

function isCount(value: unknown): boolean {
  return typeof value === 'number' && Number.isSafeInteger(value) && value >= 0
}

export function statOf(status: FileStatus): ObjectStat {
  const { type, length, modificationTime } = status
  const seconds = Math.floor(modificationTime / MILLISECONDS_PER_SECOND)
  const milliseconds = modificationTime - seconds * MILLISECONDS_PER_SECOND
  return {
    kind: type === 'DIRECTORY' ? 'directory' : 'file',
    sizeBytes: type === 'DIRECTORY' ? 0 : length,
    mtime: { seconds, nanoseconds: milliseconds * NANOSECONDS_PER_MILLISECOND },
    version: type === 'DIRECTORY' ? '' : versionOf(status),
  }
}

/** The file's number tells one that was replaced from the one before, whatever its times. */
export function versionOf({ modificationTime, length, fileId }: FileStatus): string {
  return `${modificationTime}/${length}/${fileId}`
}
