import type { Backend } from '../backends/backend.js'
import { StorageError } from '../backends/storage-error.js'

/**
 * Run a removal of what is at `path`, until it is known to be done: resolves then, also where somebody else was quicker. An
 * answer that was lost is asked for by a look. Rejects where the store has it still, or does not tell.
 */
export async function removeFor(backend: Backend, path: string, remove: () => Promise<void>): Promise<void> {
  try {
    await remove()
  } catch (error) {
    if (!(await isRemoved(backend, path, error))) throw error
  }
}

async function isRemoved(backend: Backend, path: string, error: unknown): Promise<boolean> {
  if (!(error instanceof StorageError)) return false
  if (error.errno === 'ENOENT') return true
  if (error.outcome === 'refused') return false
  try {
    return (await backend.stat(path)) === null
  } catch {
    return false
  }
}
