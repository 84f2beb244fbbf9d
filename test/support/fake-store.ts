/** What the fake servers have in common: a request that has arrived, and what it is answered with. */
import { createHash } from 'node:crypto'
import type { IncomingHttpHeaders } from 'node:http'

export interface StoreCall {
  readonly method: string
  /** Decoded, with the "/" at its beginning. */
  readonly path: string
  readonly query: URLSearchParams
  readonly headers: IncomingHttpHeaders
  readonly body: Buffer
}

export interface StoreAnswer {
  readonly status: number
  readonly headers: Readonly<Record<string, string>>
  readonly body: Buffer
}

/** A store in memory that does what it is asked and says so. `origin` is where it is served. */
export interface FakeStore {
  carryOut(call: StoreCall, origin: string): StoreAnswer
}

export const md5 = (data: Buffer | string): string => createHash('md5').update(data).digest('hex')

export function answer(
  status: number,
  headers: Record<string, string> = {},
  body: string | Buffer = '',
): StoreAnswer {
  return { status, headers, body: Buffer.from(body) }
}

/** Of `data`, as far as a Range asks for it. */
export function rangeAnswer(call: StoreCall, data: Buffer, headers: Record<string, string>): StoreAnswer {
  const wanted = /^bytes=(\d+)-(\d*)$/.exec(call.headers.range ?? '')
  if (wanted === null || call.method === 'HEAD') return { status: 200, headers, body: data }
  const start = Number(wanted[1])
  const end = Math.min(data.length - 1, wanted[2] === '' ? data.length - 1 : Number(wanted[2]))
  if (start > end) return answer(416)
  const range = { 'content-range': `bytes ${start}-${end}/${data.length}` }
  return { status: 206, headers: { ...headers, ...range }, body: data.subarray(start, end + 1) }
}
