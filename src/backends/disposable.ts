/**
 * Large buffers whose memory is given back when their only user is done with them. The garbage collector would do it some
 * time later, and meanwhile as much again would be read and written.
 */
import { storageAddon } from './native-addon.js'

/** Shorter ones are left to the collector: they take little, and there are many. */
const MIN_BYTES = 64 << 10

const disposable = new WeakSet<ArrayBufferLike>()

/** `data` is all of its memory, and whoever gets it is its only user. Returns it. */
export function asDisposable<T extends Uint8Array>(data: T): T {
  const { buffer } = data
  if (data.byteLength >= MIN_BYTES && data.byteLength === buffer.byteLength) disposable.add(buffer)
  return data
}

/** `data` has more users from now on: `dispose` leaves it to the collector. */
export function shareDisposable(data: Uint8Array): void {
  disposable.delete(data.buffer)
}

/** The bytes are not needed any more; nothing is done unless they were made disposable. */
export function dispose(data: Uint8Array): void {
  const { buffer } = data
  if (disposable.delete(buffer)) storageAddon().discard(buffer as ArrayBuffer)
}
