/** The beginning of an HTTP/1.1 request. */
export interface RequestHead {
  readonly method: string
  /** Path and query as they were sent. */
  readonly target: string
  /** Names in lower case. */
  readonly headers: Readonly<Record<string, string>>
}

/** What follows next in the stream of a client. */
type State =
  | { readonly kind: 'head' }
  /** So many bytes of a body. */
  | { readonly kind: 'body'; readonly remaining: number }
  /** A chunk's size line. */
  | { readonly kind: 'chunk-size' }
  /** A chunk and the line end behind it. */
  | { readonly kind: 'chunk'; readonly remaining: number }
  /** Lines behind the last chunk, up to an empty one. */
  | { readonly kind: 'trailer' }

/** A piece of the stream: what belongs to one request. */
export interface RequestPiece {
  readonly bytes: Buffer
  /** The head of the request that begins with this piece; null when the piece goes on with one. */
  readonly head: RequestHead | null
  /** Whether the request ends with this piece. */
  readonly ends: boolean
}

const HEAD_END = Buffer.from('\r\n\r\n')
const LINE_END = Buffer.from('\r\n')
const EMPTY = Buffer.alloc(0)
/** No client of ours sends a longer head: beyond, the stream is no HTTP. */
const MAX_HEAD_BYTES = 1 << 20

/**
 * Cuts a client's stream into requests. Bytes are never held back longer than until a head is whole, and never changed.
 * A stream that is no HTTP/1.1 throws.
 */
export class RequestParser {
  #state: State = { kind: 'head' }
  #waiting = EMPTY

  /** What has been pushed and not yet been given out; after an error, all of it but the last chunk. */
  get held(): Buffer {
    return this.#waiting
  }

  push(chunk: Buffer): RequestPiece[] {
    const pieces: RequestPiece[] = []
    let rest = this.#waiting.length === 0 ? chunk : Buffer.concat([this.#waiting, chunk])
    for (;;) {
      const [piece, taken] = this.#take(rest)
      if (taken === 0) break
      if (piece !== null) pieces.push(piece)
      rest = rest.subarray(taken)
    }
    if (rest.length > MAX_HEAD_BYTES) throw new Error('no end of a request head: this is no HTTP')
    this.#waiting = Buffer.from(rest)
    return pieces
  }

  /** The next piece and its length; 0 when more bytes are needed. */
  #take(bytes: Buffer): [RequestPiece | null, number] {
    if (bytes.length === 0) return [null, 0]
    switch (this.#state.kind) {
      case 'head':
        return this.#takeHead(bytes)
      case 'body':
        return this.#takeBody(bytes, this.#state.remaining, { kind: 'head' })
      case 'chunk':
        return this.#takeBody(bytes, this.#state.remaining, { kind: 'chunk-size' })
      case 'chunk-size':
        return this.#takeChunkSize(bytes)
      case 'trailer':
        return this.#takeTrailerLine(bytes)
    }
  }

  #takeHead(bytes: Buffer): [RequestPiece | null, number] {
    const end = bytes.indexOf(HEAD_END)
    if (end < 0) return [null, 0]
    const length = end + HEAD_END.length
    const head = parseHead(bytes.toString('latin1', 0, end))
    const bodyBytes = Number(head.headers['content-length'] ?? 0)
    const isChunked = /\bchunked\b/i.test(head.headers['transfer-encoding'] ?? '')
    if (isChunked) this.#state = { kind: 'chunk-size' }
    else if (bodyBytes > 0) this.#state = { kind: 'body', remaining: bodyBytes }
    const ends = !isChunked && bodyBytes === 0
    return [{ bytes: bytes.subarray(0, length), head, ends }, length]
  }

  #takeBody(bytes: Buffer, remaining: number, next: State): [RequestPiece, number] {
    const length = Math.min(remaining, bytes.length)
    const isWhole = length === remaining
    const { kind } = this.#state
    this.#state = isWhole
      ? next
      : { kind: kind === 'chunk' ? 'chunk' : 'body', remaining: remaining - length }
    return [{ bytes: bytes.subarray(0, length), head: null, ends: isWhole && next.kind === 'head' }, length]
  }

  #takeChunkSize(bytes: Buffer): [RequestPiece | null, number] {
    const end = bytes.indexOf(LINE_END)
    if (end < 0) return [null, 0]
    const size = Number.parseInt(bytes.toString('latin1', 0, end), 16)
    if (Number.isNaN(size)) throw new Error('a chunk without a size: this is no HTTP')
    this.#state = size === 0 ? { kind: 'trailer' } : { kind: 'chunk', remaining: size + LINE_END.length }
    const length = end + LINE_END.length
    return [{ bytes: bytes.subarray(0, length), head: null, ends: false }, length]
  }

  #takeTrailerLine(bytes: Buffer): [RequestPiece | null, number] {
    const end = bytes.indexOf(LINE_END)
    if (end < 0) return [null, 0]
    const isLast = end === 0
    if (isLast) this.#state = { kind: 'head' }
    const length = end + LINE_END.length
    return [{ bytes: bytes.subarray(0, length), head: null, ends: isLast }, length]
  }
}

function parseHead(text: string): RequestHead {
  const [requestLine = '', ...lines] = text.split('\r\n')
  const [method = '', target = '', version = ''] = requestLine.split(' ')
  if (!version.startsWith('HTTP/1.')) throw new Error(`no HTTP/1 request line: ${requestLine.slice(0, 200)}`)
  const headers: Record<string, string> = {}
  for (const line of lines) {
    const colon = line.indexOf(':')
    headers[line.slice(0, colon).toLowerCase()] = line.slice(colon + 1).trim()
  }
  return { method, target, headers }
}
