/** Which requests a rule is for, and what is random about it. */
import type { PathMatcher } from '../observability/glob-matcher.js'
import type { InterposedRequest } from './interposer.js'
import { INTERPOSABLE_OPERATIONS, type RuleScope } from './rules.js'

/** What rules need of others, loaded only where there are rules. */
export interface RuleLibraries {
  /** A generator of numbers in [0, 1), the same ones for the same seed. */
  readonly random: (seed: number) => () => number
  readonly matcher: (globs: readonly string[]) => PathMatcher
}

/** Matches every path, the mount's root too, which no other glob does; nobody has to put the path together. */
const EVERY_PATH = '**'

/** Rules of one seed must not decide alike: each has its own of it, by its place in the file. An odd number near 2^32 / golden ratio. */
const SEED_STEP = 0x9e37_79b9

/** One rule's view of the requests. */
export class Scope {
  readonly random: () => number
  private readonly operations: ReadonlySet<string>
  private readonly paths: PathMatcher | null

  /** `place`: of the rule among all of its mount. */
  constructor({ operations, paths, seed }: RuleScope, place: number, libraries: RuleLibraries) {
    this.operations = new Set(operations ?? INTERPOSABLE_OPERATIONS)
    this.paths = paths === null || paths.includes(EVERY_PATH) ? null : libraries.matcher(paths)
    this.random = libraries.random((seed + Math.imul(place, SEED_STEP)) | 0)
  }

  includes(request: InterposedRequest): boolean {
    return this.operations.has(request.operation) && (this.paths === null || this.paths(request.path()))
  }
}

/** The libraries that `globs` and seeds need. */
export async function loadRuleLibraries(needsPaths: boolean): Promise<RuleLibraries> {
  const [{ xoroshiro128plus }, { uniformFloat64 }, matcher] = await Promise.all([
    import('pure-rand/generator/xoroshiro128plus'),
    import('pure-rand/distribution/uniformFloat64'),
    needsPaths ? loadMatcher() : noMatcher,
  ])
  const random = (seed: number) => {
    const generator = xoroshiro128plus(seed)
    return () => uniformFloat64(generator)
  }
  return { random, matcher }
}

async function loadMatcher(): Promise<RuleLibraries['matcher']> {
  const { globMatcher } = await import('../observability/glob-matcher.js')
  return globMatcher
}

function noMatcher(): never {
  throw new Error('there are rules with paths')
}
