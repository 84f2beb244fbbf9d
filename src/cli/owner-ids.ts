import { execFileSync } from 'node:child_process'
import { readFileSync } from 'node:fs'

/** A directory service that does not answer must not keep the daemon from saying so. */
const LOOKUP_TIMEOUT_MS = 10_000

/** As the kernel's: the number behind it means "none". */
const ID_MAX = 0xffff_fffe

/** What getent and /etc call the lists of users and groups: a name, something, and the id in each line. */
type Database = 'passwd' | 'group'

const KIND: Readonly<Record<Database, string>> = { passwd: 'user', group: 'group' }

/**
 * The id of a group, by its name or number. `option` asks for it.
 * @throws Error when there is none
 */
export function groupId(group: string, option = '--socket-group'): number {
  return idIn('group', group, option)
}

/** The same of a user. @throws Error when there is none */
export function userId(user: string, option: string): number {
  return idIn('passwd', user, option)
}

function idIn(database: Database, name: string, option: string): number {
  if (/^\d{1,10}$/.test(name) && Number(name) <= ID_MAX) return Number(name)
  // Nearly always here, and quicker read than asked for.
  const id =
    idOf(name, readFileSync(`/etc/${database}`, 'utf8')) ?? idOf(name, askNameService(database, name))
  if (id === undefined) throw new Error(`${option}: there is no ${KIND[database]} ${JSON.stringify(name)}`)
  return id
}

/** `text` has lines as /etc/group. */
function idOf(wanted: string, text: string): number | undefined {
  for (const line of text.split('\n')) {
    const [name, , id = ''] = line.split(':')
    if (name === wanted && /^\d+$/.test(id)) return Number(id)
  }
  return undefined
}

/** Users and groups may come from a directory service (nsswitch.conf). */
function askNameService(database: Database, name: string): string {
  try {
    return execFileSync('getent', [database, '--', name], {
      encoding: 'utf8',
      stdio: ['ignore', 'pipe', 'ignore'],
      timeout: LOOKUP_TIMEOUT_MS,
    })
  } catch {
    // Not there, or no getent.
    return ''
  }
}
