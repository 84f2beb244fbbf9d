/** Globs over paths, by one set of rules wherever they are written. The library is loaded with this file: only where there are any. */
import picomatch from 'picomatch'

/** Whether a path matches any of the globs. */
export type PathMatcher = (path: string) => boolean

/**
 * Names may begin with a dot, hold backslashes and even a line's end, which "." of an expression would not match. Groups are refused by
 * `globFault`, and "!" is a character.
 */
const OPTIONS = { dot: true, noextglob: true, nonegate: true, flags: 's' }

export function globMatcher(globs: readonly string[]): PathMatcher {
  return picomatch([...globs], OPTIONS)
}
