import { stdSerializers } from 'pino'

/** Of what a store says; a page of HTML helps nobody. */
const MESSAGE_CHARACTERS_MAX = 1000

/**
 * How an error stands in the log. One that the daemon is made for (it has an errno by name: a store or the file system refused) is what
 * it says, once; where it came from in our code tells nobody anything. Others are faults, with their stack and causes.
 */
export function describeError(error: unknown): unknown {
  if (!(error instanceof Error)) return error
  const { errno } = error as { errno?: unknown }
  if (typeof errno !== 'string') return stdSerializers.err(error)
  const { name, message } = error
  const short =
    message.length > MESSAGE_CHARACTERS_MAX ? `${message.slice(0, MESSAGE_CHARACTERS_MAX)}...` : message
  return { type: name, errno, message: short }
}
