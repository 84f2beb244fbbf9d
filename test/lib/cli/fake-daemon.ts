/**
 * The daemon with a server that does as FAKE_SERVER says, so that its life can be tested without a device. Run as a
 * process of its own by daemon.test.ts, with the configuration file as argument.
 *
 *   drain       close() ends at once            fail-close  close() rejects
 *   hang        close() never ends              fail-start  start() rejects, its message holding a secret
 *   throw       an exception once running       reject      a rejection that nobody handles once running
 *   throw-late  an exception while close() is under way
 *   lose        data was lost before            keep        what stores did not take is in cache_dir
 *   front-end   the front-end goes away         log-secret  logs the profile's options and an error with a secret in it
 */
import { runDaemon, type StartOptions } from '../../../src/cli/daemon.js'
import type { RunningServer } from '../../../src/cli/lifecycle.js'
import type { UnsavedData } from '../../../src/server/loss-ledger.js'

const DIRTY = { mount: 'm', files: 2, bytes: 4096, paths: ['a', 'b/c'], keptFiles: 1 }
const UNSAVED: Readonly<Record<string, readonly UnsavedData[]>> = {
  hang: [DIRTY],
  'fail-close': [DIRTY],
  keep: [{ mount: 'm', files: 0, bytes: 0, paths: [], keptFiles: 3 }],
}
const behaviour = process.env['FAKE_SERVER'] ?? 'drain'

function start({ logger, mounts, onFrontEndGone }: StartOptions): Promise<RunningServer> {
  const secret = mounts[0]?.options['secret_access_key'] ?? ''
  if (behaviour === 'fail-start') return Promise.reject(new Error(`bind: no such directory\n with ${secret}`))
  // As the device's handles do in the daemon, this keeps the process alive.
  const alive = setInterval(() => undefined, 60_000)
  setImmediate(() => {
    if (behaviour === 'throw') throw new Error('a bug')
    if (behaviour === 'reject') void Promise.reject(new Error('a forgotten promise'))
    if (behaviour === 'front-end') onFrontEndGone()
    if (behaviour === 'log-secret') {
      logger
        .child({ layer: 'fs', mount: mounts[0] })
        .error({ err: new Error(`GET /?signature=${secret}`) }, secret)
      logger.info({ mounts }, 'mounts')
    }
    logger.info('fake server is running')
  })
  return Promise.resolve({
    unsaved: () => UNSAVED[behaviour] ?? [],
    losses: () => (behaviour === 'lose' ? { lostFiles: 2, conflicts: 1 } : { lostFiles: 0, conflicts: 0 }),
    reload: () => Promise.resolve([]),
    close: async () => {
      clearInterval(alive)
      if (behaviour === 'fail-close') throw new Error(`PUT failed with ${secret}`)
      if (behaviour === 'throw-late') {
        setImmediate(() => {
          throw new Error('a late bug')
        })
        await new Promise((resolve) => process.once('uncaughtException', resolve))
      }
      if (behaviour === 'hang') await new Promise(() => undefined)
    },
  })
}

process.exitCode = await runDaemon(
  { configFile: process.argv[2] ?? '', overrides: {}, remarks: [] },
  { startServer: start },
)
