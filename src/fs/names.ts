import { FsError } from './fs-error.js'

/** NAME_MAX of Linux: bytes, not characters. */
export const NAME_MAX_BYTES = 255
/** PATH_MAX of Linux without its NUL: what a store may be asked for at most. */
export const PATH_MAX_BYTES = 4095

const SLASH = 0x2f
const FIRST_NON_ASCII = 0x80

const decoder = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true })

/**
 * Bytes [start, end) of a buffer, a name as a guest sent it -> a name that is safe to hand to a store.
 * EINVAL for empty, ".", "..", "/", NUL and what is not UTF-8; ENAMETOOLONG beyond NAME_MAX_BYTES.
 */
export function decodeName(buffer: Buffer, start: number, end: number): string {
  if (end - start > NAME_MAX_BYTES) throw new FsError('ENAMETOOLONG')
  let isAscii = true
  for (let position = start; position < end; position++) {
    const byte = buffer[position] as number
    if (byte === 0 || byte === SLASH) throw new FsError('EINVAL', 'a name holds "/" or NUL')
    if (byte >= FIRST_NON_ASCII) isAscii = false
  }
  const name = isAscii ? buffer.toString('latin1', start, end) : utf8Of(buffer.subarray(start, end))
  if (name === '' || name === '.' || name === '..') throw new FsError('EINVAL', `"${name}" is no name`)
  return name
}

function utf8Of(bytes: Uint8Array): string {
  try {
    return decoder.decode(bytes)
  } catch {
    throw new FsError('EINVAL', 'a name is not UTF-8')
  }
}

/** ENAMETOOLONG where a whole path is longer than a store, which takes `storeMaxBytes`, may be asked for. */
export function checkPathLength(path: string, storeMaxBytes: number): void {
  const maxBytes = Math.min(PATH_MAX_BYTES, storeMaxBytes)
  // A character is at most three bytes per UTF-16 unit: short paths need no count.
  if (path.length * 3 > maxBytes && Buffer.byteLength(path) > maxBytes) throw new FsError('ENAMETOOLONG')
}
