// What OpenDAL's binding does alone with a directory of the host, beside ovfsd on the same directory: new files of 4 KiB.
import { mkdirSync, mkdtempSync, rmSync } from 'node:fs'
import os from 'node:os'
import path from 'node:path'
import { setUp } from '../../scripts/setup.mjs'
import { startLocalDaemons } from './local-daemons.mjs'
import { buildGenerator } from './generator.mjs'
import { generate } from './local.mjs'
import { rawSeconds } from './raw-binding-process.mjs'
import { machine, summarize, versions } from './report.mjs'
import { withResources } from './resources.mjs'

const DEPTHS = [1, 16]
const FILE_BYTES = 4096
/** Of one measurement of the binding: about a second's worth. */
const FILES = 2500
const TARGETS = ['ovfsd', 'binding']

/** @param {{ rounds: string, seconds: string, directory: string }} options `directory` keeps what is made in it */
export async function benchBinding({ rounds, seconds, directory: parent }) {
  await setUp('build')
  await buildGenerator()
  const loadBefore = os.loadavg()
  return withResources(async (resources) => {
    const work = resources.add(mkdtempSync(path.join(os.tmpdir(), 'ovfs-bench-')), (made) => {
      rmSync(made, { recursive: true, force: true })
    })
    const directory = mkdtempSync(path.join(parent, 'ovfs-bench-tree-'))
    const daemons = await startLocalDaemons({ daemons: 'ovfsd', setting: [] }, directory, work, resources)
    const samples = []
    const only = DEPTHS.map((depth) => `create@${depth}`).join(',')
    for (let round = 0; round < Number(rounds); round++) {
      const ours = await generate({ only, seconds, rounds: '1' }, daemons)
      samples.push(...ours.map((sample) => ({ ...sample, round })))
      for (const depth of DEPTHS) samples.push(bindingSample(directory, depth, round))
    }
    return {
      ...{ date: new Date().toISOString(), machine: machine(directory), versions: versions() },
      ...{ load: { before: loadBefore, after: os.loadavg() }, rows: summarize(samples, TARGETS) },
    }
  })
}

function bindingSample(directory, depth, round) {
  const own = `binding-${depth}-${round}`
  mkdirSync(path.join(directory, own))
  const job = {
    scheme: 'fs',
    options: { root: directory },
    directory: own,
    sizeBytes: FILE_BYTES,
    files: FILES,
    depth,
  }
  return { target: 'binding', work: 'create', depth, round, perSecond: FILES / rawSeconds(job) }
}
