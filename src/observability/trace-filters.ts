import { globMatcher, type PathMatcher } from './glob-matcher.js'
import type { TraceFilter } from './tracing-settings.js'

/** What filters look at. */
export interface Traceable {
  readonly mount: string
  readonly path: string
  readonly newPath?: string | null
  /** null: any will do, for what stands above several operations. */
  readonly operation: string | null
  /** null: no process asked for it. */
  readonly pid: number | null
}

/** The request fits no filter. */
export const NO_MATCH = -1

interface Prepared {
  readonly mounts: ReadonlySet<string> | null
  readonly operations: ReadonlySet<string> | null
  readonly pids: ReadonlySet<number> | null
  readonly fits: PathMatcher | null
  readonly minLatencyUs: number
}

/** `[[tracing.filters]]`: which requests have spans. */
export class TraceFilters {
  private readonly prepared: readonly Prepared[]

  constructor(filters: readonly TraceFilter[]) {
    this.prepared = filters.map(({ mounts, paths, operations, pids, minLatencyUs }) => ({
      mounts: mounts && new Set(mounts),
      operations: operations && new Set(operations),
      pids: pids && new Set(pids),
      fits: paths && globMatcher(paths),
      minLatencyUs,
    }))
  }

  /** The duration from which on it is of interest, the shortest of all filters that it fits; NO_MATCH where it fits none. */
  minLatencyUs(what: Traceable): number {
    if (this.prepared.length === 0) return 0
    let least = Infinity
    for (const filter of this.prepared) {
      if (filter.minLatencyUs < least && isFit(filter, what)) least = filter.minLatencyUs
    }
    return least === Infinity ? NO_MATCH : least
  }
}

function isFit({ mounts, operations, pids, fits }: Prepared, what: Traceable): boolean {
  const { mount, operation, pid, path, newPath } = what
  if (mounts?.has(mount) === false) return false
  if (operations !== null && operation !== null && !operations.has(operation)) return false
  if (pids !== null && (pid === null || !pids.has(pid))) return false
  // The costly one last.
  return fits === null || fits(path) || (typeof newPath === 'string' && fits(newPath))
}
