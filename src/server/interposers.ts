import { isDeepStrictEqual } from 'node:util'
import type { Mount } from '../fs/mount.js'
import { describeRules } from '../interpose/describe.js'
import type { InterposeRules } from '../interpose/rules.js'
import { RuleInterposer } from '../interpose/rule-interposer.js'
import { loadRuleLibraries, type RuleLibraries } from '../interpose/scope.js'
import type { Logger } from '../observability/logger.js'

interface Running {
  readonly rules: InterposeRules
  readonly interposer: RuleInterposer
}

/** The interposers of all mounts, from their beginning to their end, with a line of the log for both. */
export class Interposers {
  private readonly running = new Map<Mount, Running>()
  /** With and without globs, once they are loaded. */
  private libraries: RuleLibraries | null = null
  private hasPaths = false
  private hasEnded = false

  constructor(private readonly logger: Logger) {}

  /** To be awaited before such rules are installed; null: they may be at once. */
  prepare(mounts: readonly { readonly interpose?: InterposeRules | null }[]): Promise<void> | null {
    const rules = mounts.flatMap(({ interpose }) =>
      interpose === undefined || interpose === null ? [] : [...interpose.faults, ...interpose.delays],
    )
    const needsPaths = this.hasPaths || rules.some(({ paths }) => paths !== null)
    if (rules.length === 0 || (this.libraries !== null && needsPaths === this.hasPaths)) return null
    return loadRuleLibraries(needsPaths).then((libraries) => {
      this.libraries = libraries
      this.hasPaths = needsPaths
    })
  }

  /** The mount's rules from now on. What has them already keeps its state; whoever waits by other ones goes on at once. */
  install(mount: Mount, rules: InterposeRules | null): void {
    // A reload that comes while the server stops must not make anybody wait.
    if (this.hasEnded) return
    const before = this.running.get(mount)
    if (isDeepStrictEqual(before?.rules ?? null, rules)) return
    const interposer = rules === null ? null : new RuleInterposer(rules, this.libraries ?? NO_LIBRARIES)
    this.remove(mount)
    if (rules === null || interposer === null) return
    mount.interposer = interposer
    this.running.set(mount, { rules, interposer })
    for (const rule of describeRules(rules))
      this.logger.warn({ mount: mount.options.name, rule }, 'interposing: made to misbehave on purpose')
  }

  remove(mount: Mount): void {
    const running = this.running.get(mount)
    if (running === undefined) return
    this.running.delete(mount)
    mount.interposer = null
    running.interposer.end()
    this.logger.warn({ mount: mount.options.name }, 'interposing has ended')
  }

  /** Whoever waits goes on at once: the session is over. */
  release(): void {
    for (const { interposer } of this.running.values()) interposer.release()
  }

  /** For good. Resolves when whoever waited has gone on. */
  async end(): Promise<void> {
    this.hasEnded = true
    if (this.running.size === 0) return
    for (const mount of [...this.running.keys()]) this.remove(mount)
    await new Promise((resolve) => setImmediate(resolve))
  }
}

/** A throttle needs none. */
const NO_LIBRARIES: RuleLibraries = {
  random: () => {
    throw new Error('the libraries of rules are not loaded')
  },
  matcher: () => {
    throw new Error('the libraries of rules are not loaded')
  },
}
