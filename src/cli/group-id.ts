import { execFileSync } from 'node:child_process'
import { readFileSync } from 'node:fs'

/** A directory service that does not answer must not keep the daemon from saying so. */
const LOOKUP_TIMEOUT_MS = 10_000

/**
 * The id of a group, by its name or number.
 * @throws Error when there is none
 */
export function groupId(group: string): number {
  if (/^\d{1,9}$/.test(group)) return Number(group)
  // Nearly always here, and quicker read than asked for.
  const id = idOf(group, readFileSync('/etc/group', 'utf8')) ?? idOf(group, askNameService(group))
  if (id === undefined) throw new Error(`--socket-group: there is no group ${JSON.stringify(group)}`)
  return id
}

/** `text` has lines as /etc/group. */
function idOf(group: string, text: string): number | undefined {
  for (const line of text.split('\n')) {
    const [name, , id = ''] = line.split(':')
    if (name === group && /^\d+$/.test(id)) return Number(id)
  }
  return undefined
}

/** Groups may come from a directory service (nsswitch.conf). */
function askNameService(group: string): string {
  try {
    return execFileSync('getent', ['group', '--', group], {
      encoding: 'utf8',
      stdio: ['ignore', 'pipe', 'ignore'],
      timeout: LOOKUP_TIMEOUT_MS,
    })
  } catch {
    // Not there, or no getent.
    return ''
  }
}
