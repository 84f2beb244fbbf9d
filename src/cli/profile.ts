/** What the requests of an access log come to, in groups: count, errors, bytes and time. */
import type { AccessEntry } from '../observability/access-line.js'
import type { Grouping } from './operate-arguments.js'

/** Groups that are kept apart, some 300 bytes each. When there are more, the half with less time is added up as one. */
const GROUPS_MAX = 100_000

export interface Group {
  /** The operation, path, pid or mount. */
  readonly key: string
  count: number
  errors: number
  bytes: number
  totalUs: number
  maxUs: number
}

export interface Profile {
  readonly by: Grouping
  /** Those with the most time first. */
  readonly groups: readonly Group[]
  readonly all: Group
  /** What the groups that are not listed come to, and how many they are at least; null: all are listed. */
  readonly others: Group | null
  readonly otherGroups: number
  /** Groups with little time were given up to keep memory bounded: one that came again later counts from then on. */
  readonly isApproximate: boolean
  /** Lines that are none of an access log. */
  readonly unreadable: number
  /** Requests that are missing, since they came faster than they could be sent. */
  readonly dropped: number
}

export class Profiler {
  private readonly groups = new Map<string, Group>()
  private readonly all = newGroup('')
  private readonly folded = newGroup('')
  private foldedGroups = 0
  unreadable = 0
  dropped = 0

  constructor(
    private readonly by: Grouping,
    private readonly groupsMax = GROUPS_MAX,
  ) {}

  add(entry: AccessEntry): void {
    const key = String(entry[this.by])
    let group = this.groups.get(key)
    if (group === undefined) {
      if (this.groups.size >= this.groupsMax) this.fold()
      // A copy: what was cut out of a line would keep the line.
      group = newGroup(key)
      this.groups.set(key, group)
    }
    count(group, entry)
    count(this.all, entry)
  }

  private fold(): void {
    const sorted = [...this.groups.values()].sort(byTime)
    for (const group of sorted.slice(Math.floor(this.groupsMax / 2))) {
      addGroup(this.folded, group)
      this.foldedGroups++
      this.groups.delete(group.key)
    }
  }

  /** `top`: groups that are listed. */
  result(top: number): Profile {
    const sorted = [...this.groups.values()].sort(byTime)
    const others = newGroup('')
    addGroup(others, this.folded)
    for (const group of sorted.slice(top)) addGroup(others, group)
    const otherGroups = this.foldedGroups + Math.max(0, sorted.length - top)
    return {
      by: this.by,
      groups: sorted.slice(0, top),
      all: this.all,
      others: otherGroups === 0 ? null : others,
      otherGroups,
      isApproximate: this.foldedGroups > 0,
      unreadable: this.unreadable,
      dropped: this.dropped,
    }
  }
}

function newGroup(key: string): Group {
  return { key, count: 0, errors: 0, bytes: 0, totalUs: 0, maxUs: 0 }
}

function count(group: Group, { errno, bytes, durationUs }: AccessEntry): void {
  group.count++
  if (errno !== null) group.errors++
  group.bytes += bytes
  group.totalUs += durationUs
  if (durationUs > group.maxUs) group.maxUs = durationUs
}

function addGroup(sum: Group, group: Group): void {
  sum.count += group.count
  sum.errors += group.errors
  sum.bytes += group.bytes
  sum.totalUs += group.totalUs
  sum.maxUs = Math.max(sum.maxUs, group.maxUs)
}

function byTime(a: Group, b: Group): number {
  return b.totalUs - a.totalUs || b.count - a.count
}
