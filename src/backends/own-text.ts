/** V8 copies shorter pieces by itself (SlicedString::kMinLength). */
const SHARED_LENGTH = 13
/** Room for the longest name in UTF-8, a key of S3. */
const scratch = Buffer.alloc(4096)

/**
 * The same text in memory of its own. A piece of a longer text keeps that one alive: the name of one inode, or a token, the 300 KB of the
 * page in which it was listed.
 */
export function ownText(text: string): string {
  if (text.length < SHARED_LENGTH) return text
  // A unit of UTF-16 takes three bytes at most.
  if (text.length * 3 > scratch.length) return text
  const own = scratch.toString('utf8', 0, scratch.write(text))
  // Half of a pair of surrogates has no UTF-8.
  return own === text ? own : text
}
