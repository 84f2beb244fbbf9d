/**
 * Ids of users or groups that are others on the host than in the guest, by rules in virtiofsd's form: `guest:GUEST:HOST:COUNT`,
 * `host:HOST:GUEST:COUNT`, `squash-guest:GUEST:HOST:COUNT`, `squash-host:HOST:GUEST:COUNT`, `forbid-guest:GUEST:COUNT` and
 * `map:GUEST:HOST:COUNT`. What no rule is about is the same on both sides.
 */
import { FsError } from '../fs/fs-error.js'

/** Ids are 32-bit numbers. */
const ID_LIMIT = 2 ** 32

interface Range {
  readonly first: number
  readonly count: number
  /** The first id of the other side; null: it may not be used. */
  readonly target: number | null
  /** All become that one. */
  readonly squashes: boolean
}

/** What is wrong with a rule; its message is for whoever wrote it. */
export class IdTranslationError extends Error {}

export class IdTranslation {
  private constructor(
    private readonly guestRanges: readonly Range[],
    private readonly hostRanges: readonly Range[],
  ) {}

  /** `rules`: separated by white space or commas. @throws IdTranslationError */
  static parse(rules: string): IdTranslation {
    const guest: Range[] = []
    const host: Range[] = []
    for (const rule of rules.split(/[\s,]+/).filter((text) => text !== '')) {
      const [type = '', ...fields] = rule.split(':')
      const numbers = fields.map((field) => idOf(rule, field))
      const isForbidden = type === 'forbid-guest'
      if (numbers.length !== (isForbidden ? 2 : 3))
        throw new IdTranslationError(`${rule} has too few or too many fields`)
      const [source = 0, target = 0] = numbers
      const count = numbers.at(-1) ?? 0
      const squashes = type.startsWith('squash-')
      const range = { first: source, count, target: isForbidden ? null : target, squashes }
      const beyond = Math.max(source + count, isForbidden || squashes ? 0 : target + count)
      if (count === 0 || beyond > ID_LIMIT)
        throw new IdTranslationError(`${rule} is about no ids, or about some beyond 2^32`)
      if (type === 'host' || type === 'squash-host') addTo(host, range, rule)
      else if (type === 'guest' || type === 'squash-guest' || isForbidden) addTo(guest, range, rule)
      else if (type === 'map') {
        addTo(guest, range, rule)
        addTo(host, { ...range, first: target, target: source }, rule)
      } else throw new IdTranslationError(`${rule}: there is no such kind of rule`)
    }
    return new IdTranslation(guest, host)
  }

  /** EPERM for an id that is forbidden. */
  toHost(id: number): number {
    const found = translated(this.guestRanges, id)
    if (found === null) throw new FsError('EPERM', `the guest may not use the id ${id}`)
    return found
  }

  toGuest(id: number): number {
    return translated(this.hostRanges, id) ?? id
  }
}

function idOf(rule: string, text: string): number {
  const number = Number(text)
  if (!/^\d{1,10}$/.test(text) || number >= ID_LIMIT)
    throw new IdTranslationError(`${rule}: ${text} is no id`)
  return number
}

function addTo(ranges: Range[], range: Range, rule: string): void {
  const overlaps = (other: Range): boolean =>
    range.first < other.first + other.count && other.first < range.first + range.count
  if (ranges.some(overlaps)) throw new IdTranslationError(`${rule} is about ids that another rule is about`)
  ranges.push(range)
}

function translated(ranges: readonly Range[], id: number): number | null {
  for (const { first, count, target, squashes } of ranges) {
    if (id < first || id >= first + count) continue
    if (target === null) return null
    return squashes ? target : target + id - first
  }
  return id
}
