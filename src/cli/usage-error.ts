/** A command line that can't be followed; the message is one line. */
export class UsageError extends Error {
  override readonly name = 'UsageError'
}
