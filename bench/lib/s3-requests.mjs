// How many requests an operation costs: counted by a proxy between a daemon and the gateway.
import { mkdirSync } from 'node:fs'
import path from 'node:path'

/** Few are enough: every one costs the same. */
const FILES = 20
const FILE_BYTES = 30_000
const DIRECTORY = 'counted'
const LONG_DIRECTORY = 'counted-long'

/** Objects that the counting uses. */
export async function prepareCounting(entries, { objects }) {
  await objects.makeFiles(`${DIRECTORY}/read`, FILES, FILE_BYTES)
  await objects.makeDirectory(DIRECTORY)
  await objects.makeDirectory(`${DIRECTORY}/s3fs`)
  await objects.makeDirectory(`${DIRECTORY}/ovfsd`)
  await objects.makeFiles(LONG_DIRECTORY, entries, 0)
}

/**
 * @param {readonly string[]} targets of `generator`, each behind its proxy
 * @param {Readonly<Record<string, import('../../dist/test/servers/fault-proxy.js').FaultProxy>>} proxies by target
 * @param {number} entries of the directory that is listed
 * @returns {Promise<{ title: string, requests: Record<string, Record<string, number>>, per: number }[]>} the requests
 *   of each target by method, lists apart, for `per` files
 */
export async function countRequests(targets, proxies, generator, entries) {
  const rows = [
    {
      title: 'create, write, close',
      per: FILES,
      command: ['create', (target) => `${DIRECTORY}/${target}`, FILES, FILE_BYTES],
    },
    {
      title: 'open, read, close',
      per: FILES,
      command: ['read-files', () => `${DIRECTORY}/read`, FILES, FILE_BYTES],
    },
    { title: 'unlink', per: FILES, command: ['unlink', (target) => `${DIRECTORY}/${target}`, FILES] },
    { title: `list ${entries} with attributes`, per: 1, command: ['list', () => LONG_DIRECTORY, entries] },
  ]
  const counted = []
  for (const { title, per, command } of rows) {
    const requests = {}
    for (const target of targets) {
      const [verb, directory, ...rest] = command
      proxies[target].resetCounters()
      const { error } = await generator.run(verb, target, directory(target), ...rest)
      requests[target] = error === undefined ? byKind(proxies[target]) : { [`failed: ${error}`]: 1 }
    }
    counted.push({ title, per, requests })
  }
  return counted
}

function byKind(proxy) {
  const counts = {}
  for (const { method, target } of proxy.requests()) {
    const isList = method === 'GET' && /[?&](list-type|delimiter|prefix)=/.test(target)
    const kind = isList ? 'LIST' : method
    counts[kind] = (counts[kind] ?? 0) + 1
  }
  return counts
}

/** A directory of its own for what is started to be counted. */
export function countingDirectory(work) {
  const directory = path.join(work, 'counting')
  mkdirSync(directory)
  return directory
}
