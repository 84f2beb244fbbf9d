// `npm run bench -- start`: from exec() until the daemon listens, and the memory it has then. Node.js alone, which does nothing, is
// measured beside it, in turns: what the machine takes for that nobody can better.
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import os from 'node:os'
import path from 'node:path'
import { parseArgs } from 'node:util'
import { inRoot } from '../../scripts/lib/paths.mjs'
import { SetupError } from '../../scripts/lib/steps.mjs'
import { setUp } from '../../scripts/setup.mjs'
import { markdownTable, median } from './report.mjs'

const LISTENING = 'Waiting for vhost-user socket connection'
const DEFAULT_ROUNDS = 10
const KIB_PER_MIB = 1024

/** @param {readonly string[]} args */
export async function benchStart(args) {
  const { values } = parseArgs({ args: [...args], options: { rounds: { type: 'string' } } })
  const rounds = Number(values.rounds ?? DEFAULT_ROUNDS)
  if (!Number.isInteger(rounds) || rounds < 1) throw new SetupError('--rounds is a number from 1', 2)
  await setUp('build')
  const work = mkdtempSync(path.join(os.tmpdir(), 'ovfsd-start-'))
  try {
    const samples = commands(work).map(([name, command]) => ({ name, command, ms: [], rssMib: [] }))
    for (let round = 0; round < rounds; round++) {
      for (const { command, ms, rssMib } of samples) {
        const sample = await startOnce(command)
        ms.push(sample.ms)
        rssMib.push(sample.rssMib)
      }
    }
    const lines = samples.map(({ name, ms, rssMib }) => [
      name,
      median(ms).toFixed(0),
      `${Math.min(...ms).toFixed(0)} to ${Math.max(...ms).toFixed(0)}`,
      median(rssMib).toFixed(0),
    ])
    const head = ['', 'ms until it listens (median)', 'range', 'RSS, MiB']
    process.stdout.write(`${markdownTable(head, lines)}\n`)
  } finally {
    rmSync(work, { recursive: true })
  }
}

/** @returns {[name: string, command: string[]][]} */
function commands(work) {
  const socket = path.join(work, 'socket')
  const config = path.join(work, 'ovfsd.toml')
  writeFileSync(
    config,
    `[ovfsd_settings]\nsocket_path = ${JSON.stringify(socket)}\n[profiles.memory]\ntype = "memory"\nmount_point = "memory"\n`,
  )
  const idle = `process.stderr.write(${JSON.stringify(`${LISTENING}\n`)}); setInterval(() => {}, 1 << 30)`
  const bin = inRoot('bin/ovfsd.cjs')
  return [
    ['Node.js alone', ['-e', idle]],
    ['ovfsd --config-file, one memory mount', [bin, `--config-file=${config}`]],
    ['ovfsd --shared-dir', [bin, `--shared-dir=${work}`, `--socket-path=${socket}`]],
    [
      'the same without the bundle',
      [inRoot('dist/src/cli/main.js'), `--shared-dir=${work}`, `--socket-path=${socket}`],
    ],
  ]
}

async function startOnce(command) {
  const begin = performance.now()
  const child = spawn(process.execPath, command, { stdio: ['ignore', 'ignore', 'pipe'] })
  const ended = once(child, 'exit')
  let said = ''
  for await (const chunk of child.stderr) {
    said += chunk
    if (said.includes(LISTENING)) break
  }
  const ms = performance.now() - begin
  if (!said.includes(LISTENING)) throw new SetupError(`it did not start: ${said}`)
  const rss = /^VmRSS:\s+(\d+) kB/m.exec(readFileSync(`/proc/${child.pid}/status`, 'utf8'))?.[1]
  child.kill('SIGTERM')
  await ended
  return { ms, rssMib: Number(rss) / KIB_PER_MIB }
}
