/** Which users or groups of the host are which inside the sandbox: virtiofsd's --uid-map and --gid-map. */
import { quote, ValueError } from '../config/problem.js'

export interface IdRange {
  readonly inside: number
  readonly outside: number
  readonly count: number
}

/** The last number of 32 bits is no id. */
const IDS = 0xffff_ffff

const RANGE = /^(\D)(\d{1,10})\1(\d{1,10})\1(\d{1,10})\1$/

/** ":INSIDE:OUTSIDE:COUNT:", with any character that is no digit for the colon. @throws ValueError */
export function parseIdRange(text: string): IdRange {
  const [, , inside, outside, count] = (RANGE.exec(text) ?? []).map(Number)
  if (inside === undefined || outside === undefined || count === undefined || count === 0)
    throw new ValueError(`expected :INSIDE:OUTSIDE:COUNT:, found ${quote(text)}`)
  if (inside + count > IDS || outside + count > IDS)
    throw new ValueError(`${quote(text)} goes beyond the last id`)
  return { inside, outside, count }
}
