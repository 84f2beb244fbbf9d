/** Answers as no HTTP library would write them. */
import type { Socket } from 'node:net'
import type { StoreAnswer } from '../../support/fake-store.js'

/** An answer without an end is given up here, in case nobody else does it. */
const ENDLESS_BYTES = 1 << 30

/** `end`: what becomes of the connection behind the answer. */
export function sendRaw(
  socket: Socket,
  { status, headers, body }: StoreAnswer,
  end: 'closed' | 'open' = 'closed',
): void {
  const lines = Object.entries(headers).map(([name, value]) => `${name}: ${value}\r\n`)
  const head = `HTTP/1.1 ${status} Status\r\n${lines.join('')}connection: close\r\n\r\n`
  const bytes = Buffer.concat([Buffer.from(head, 'latin1'), body])
  if (end === 'closed') socket.end(bytes)
  else socket.write(bytes)
}

/** Goes on until the other side closes. `sent` is told what the operating system has taken. */
export function pourOut(socket: Socket, next: () => Buffer, sent: (bytes: number) => void): void {
  socket.on('error', () => undefined)
  pour(socket, next, sent, 0)
}

function pour(socket: Socket, next: () => Buffer, sent: (bytes: number) => void, total: number): void {
  if (socket.destroyed) return
  if (total >= ENDLESS_BYTES) {
    socket.destroy()
    return
  }
  const piece = next()
  socket.write(piece, (error) => {
    if (error != null) return
    sent(piece.length)
    // As others on this loop get their turn, too.
    setImmediate(() => {
      pour(socket, next, sent, total + piece.length)
    })
  })
}
