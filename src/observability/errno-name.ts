import { constants } from 'node:os'

/** Second names of numbers that have a better known one. */
const ALIASES: readonly string[] = ['EWOULDBLOCK', 'ENOTSUP']

const NAMES = new Map<number, string>(
  Object.entries(constants.errno)
    .filter(([name]) => !ALIASES.includes(name))
    .map(([name, number]) => [number, name]),
)

/** 2 -> "ENOENT"; the number itself where Linux has no name for it. */
export function errnoName(errno: number): string {
  return NAMES.get(errno) ?? String(errno)
}
