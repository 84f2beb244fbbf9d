// Starts the bundled daemon until it listens, and keeps the code that V8 has made by then: the functions that a start needs, and no
// others, so that it is quick to read.
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { createRequire } from 'node:module'
import os from 'node:os'
import path from 'node:path'
import { setFlagsFromString } from 'node:v8'

const { CODE_CACHE, compile, start } = createRequire(import.meta.url)('../../bin/ovfsd.cjs')

const LISTENING = 'Waiting for vhost-user socket connection'

rmSync(CODE_CACHE, { force: true })
const directory = mkdtempSync(path.join(os.tmpdir(), 'ovfsd-code-cache-'))
process.on('exit', () => rmSync(directory, { recursive: true }))
const config = path.join(directory, 'ovfsd.toml')
writeFileSync(
  config,
  `[ovfsd_settings]
socket_path = ${JSON.stringify(path.join(directory, 'socket'))}
log_level = "silent"
[profiles.memory]
type = "memory"
mount_point = "memory"
[profiles.fs]
type = "fs"
mount_point = "fs"
root = ${JSON.stringify(directory)}
`,
)

const script = compile()
// With the log silent the line comes through here.
const write = process.stderr.write.bind(process.stderr)
process.stderr.write = (text, ...rest) => {
  if (!String(text).includes(LISTENING)) return write(text, ...rest)
  // The rest of the start, up to watching the configuration.
  setImmediate(() => {
    // The cache notes V8's flags, and the daemon has changed one (src/cli/heap.ts): a start has it as it was.
    setFlagsFromString('--heap-growing-percent=0')
    writeFileSync(CODE_CACHE, script.createCachedData())
    process.kill(process.pid, 'SIGTERM')
  })
  return true
}
process.argv = [process.execPath, CODE_CACHE, `--config-file=${config}`]
start(script)
