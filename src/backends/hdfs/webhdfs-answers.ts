/** What a NameNode answers, where it has nothing else to say than yes, no, or nothing. */
import { connectionError, HttpError } from '../http/http-error.js'
import type { HttpResponse } from '../http/http-message.js'

export const NOT_WEBHDFS = 'an answer that is not WebHDFS'

/** The answer's JSON; its form is WebHDFS's published schema. */
export function parse({ body }: HttpResponse): object {
  let value: unknown
  try {
    value = JSON.parse(body.toString('utf8'))
  } catch (error) {
    throw connectionError(NOT_WEBHDFS, error)
  }
  if (typeof value === 'object' && value !== null) return value
  throw connectionError(NOT_WEBHDFS, new Error(`it is ${String(value)}`))
}

/** Of what is answered with yes or no. */
export function booleanOf(reply: HttpResponse): boolean {
  const { boolean: told } = parse(reply) as { boolean?: unknown }
  if (typeof told === 'boolean') return told
  throw connectionError(NOT_WEBHDFS, new Error('it says neither yes nor no'))
}

/** What is done without a word is answered by nothing. */
export function requireEmpty(reply: HttpResponse): void {
  if (reply.body.byteLength > 0) throw connectionError(NOT_WEBHDFS, new Error('it is not empty'))
}

export function requireTrue(reply: HttpResponse, path: string): void {
  if (booleanOf(reply)) return
  throw new HttpError({ errno: 'EIO', retryable: true }, `${path}: the NameNode refused without a reason`)
}
