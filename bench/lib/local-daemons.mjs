// The daemons of a measurement on a directory of the host, by their names in tables and on the command line.
import path from 'node:path'
import { ensureRustVirtiofsd } from '../../scripts/lib/rust-virtiofsd.mjs'
import { say, SetupError } from '../../scripts/lib/steps.mjs'
import { startOvfsd, startRustVirtiofsd, startVirtiofsd, virtiofsdProblem } from './daemons.mjs'

/** ovfsd's come first: `compare` gives a table to each of them. `problem` says why one can't be started here, or null. */
const DAEMONS = {
  ovfsd: { start: startOvfsdOn('fs') },
  'ovfsd-passthrough': { start: startOvfsdOn('passthrough') },
  'ovfsd-write-back': { start: startOvfsdOn('fs', ['enabled_cache_write_back = true']) },
  virtiofsd: { problem: virtiofsdProblem, start: startPeer(startVirtiofsd) },
  'virtiofsd-rs': { problem: ensureRustVirtiofsd, start: startPeer(startRustVirtiofsd) },
}

const isOvfsd = (name) => name.startsWith('ovfsd')

export const LOCAL_DAEMONS = Object.keys(DAEMONS)
/** Write-back changes only what is made: it is compared where that is. */
export const USUAL_DAEMONS = LOCAL_DAEMONS.filter((name) => name !== 'ovfsd-write-back')

function startOvfsdOn(type, own = []) {
  return (name, directory, work, { setting }, checkout) =>
    startOvfsd({ type, root: directory }, work, [...own, ...setting], name, [], checkout)
}

/** How the results call a daemon of `--before`'s checkout. */
export const beforeName = (name) => `before-${name}`
export const isBefore = (name) => name.startsWith('before-')

function startPeer(start) {
  return (name, directory, work, options) =>
    start(directory, work, Number(options['virtiofsd-threads']), name)
}

/**
 * Those of `--daemons`, in the order of this file, without what the machine does not have; or the one of `--daemon-socket`.
 *
 * @returns {Promise<import('./daemons.mjs').RunningDaemon[]>}
 */
export async function startLocalDaemons(options, directory, work, resources) {
  if (options['daemon-socket'] !== undefined) {
    const nothing = async () => {}
    const socket = path.resolve(options['daemon-socket'])
    return [{ name: 'daemon', socket, base: options.base, stop: nothing, log: () => '', pid: 0 }]
  }
  const wanted = options.daemons.split(',')
  const unknown = wanted.find((name) => !Object.hasOwn(DAEMONS, name))
  if (unknown !== undefined)
    throw new SetupError(`no such daemon: ${unknown} (there are ${LOCAL_DAEMONS.join(', ')})`, 2)
  const daemons = []
  const isWanted = (name) => wanted.includes(name) && (options.before === undefined || isOvfsd(name))
  for (const name of LOCAL_DAEMONS.filter(isWanted)) {
    const { problem, start } = DAEMONS[name]
    const why = (await problem?.()) ?? null
    if (why === null) {
      daemons.push(resources.add(await start(name, directory, work, options), ({ stop }) => stop()))
      if (options.before === undefined) continue
      const checkout = path.resolve(options.before)
      const before = await start(beforeName(name), directory, work, options, checkout)
      daemons.push(resources.add(before, ({ stop }) => stop()))
    } else {
      say(`${name} is left out: ${why}`)
    }
  }
  return daemons
}
