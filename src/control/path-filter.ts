import { globFault } from '../observability/glob-fault.js'
import type { PathMatcher } from '../observability/glob-matcher.js'

const WILDCARD = /[*?[{]/

/**
 * `glob` in the guest's tree: a file, a directory with all that is below it, or a pattern with *, **, ?, [...] and {a,b}; what lies below
 * a directory that matches is meant, too.
 *
 * @throws Error where it can't be matched
 */
export async function pathFilter(glob: string): Promise<PathMatcher> {
  const plain = glob.startsWith('/') ? glob : `/${glob}`
  const base = plain.replace(/\/+$/, '')
  // A name may hold what patterns are made of.
  const isBelow: PathMatcher = (path) => path === base || path.startsWith(`${base}/`)
  if (!WILDCARD.test(base)) return isBelow
  const fault = globFault(base)
  if (fault !== null) throw new Error(fault)
  const { globMatcher } = await import('../observability/glob-matcher.js')
  const matches = globMatcher([base, `${base}/**`])
  return (path) => isBelow(path) || matches(path)
}
