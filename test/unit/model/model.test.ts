/**
 * Random operations on the daemon's file system and on the plainest possible one, compared step by step: results,
 * errnos, contents, sizes and listings. Pools are tiny and parts small, so that eviction, back-pressure, streaming,
 * appending and rebuilding happen all the time. OVFSD_SEED repeats a run; OVFSD_MODEL_STEPS lengthens it.
 */
import { mkdtempSync, readdirSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after } from 'node:test'
import type { Backend } from '../../../src/backends/backend.js'
import { createBackend } from '../../../src/backends/create-backend.js'
import { withChangingVersions, withListedAttributes } from '../../support/backends.js'
import { compareWithReference, type ModelStore } from '../../lib/model/run.js'

const STEPS = Number(process.env['OVFSD_MODEL_STEPS'] ?? 1500)

const directories: string[] = []
after(() => {
  for (const directory of directories) rmSync(directory, { recursive: true, force: true })
})

function memoryBackend(): Backend {
  return createBackend({ type: 'memory', options: { root: '/' }, timeoutMs: 10_000 })
}

const stores: readonly ModelStore[] = [
  { name: 'memory', make: () => ({ backend: memoryBackend(), leftOver: () => [] }) },
  {
    name: 'memory that lists attributes',
    make: () => ({ backend: withListedAttributes(memoryBackend()), leftOver: () => [] }),
  },
  {
    name: 'memory whose renames change versions',
    make: () => ({ backend: withChangingVersions(memoryBackend()), leftOver: () => [] }),
  },
  {
    name: 'fs',
    make: () => {
      const root = mkdtempSync(join(tmpdir(), 'ovfsd-model-'))
      directories.push(root)
      const hidden = join(root, '.ovfsd')
      return {
        backend: createBackend({ type: 'fs', options: { root }, timeoutMs: 10_000 }),
        leftOver: () => (readdirSync(root).includes('.ovfsd') ? readdirSync(hidden) : []),
      }
    },
  },
]

for (const store of stores) compareWithReference(store, STEPS)
