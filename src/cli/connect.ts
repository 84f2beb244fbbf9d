/** `--check --connect`: whether each mount's storage can be reached with the options given. */
import { opendir } from 'node:fs/promises'
import { setTimeout as delay } from 'node:timers/promises'
import { RESERVED_DIRECTORY } from '../backends/backend.js'
import { createBackend } from '../backends/create-backend.js'
import { StorageError, toStorageError } from '../backends/storage-error.js'
import { formatMountPoint, type MountSettings } from '../config/index.js'
import { Redactor, secretValues } from '../observability/redaction.js'
import { EXIT_FAILURE, EXIT_OK } from './exit-code.js'

/** Longest reason: OpenDAL's messages repeat the whole response. */
const REASON_CHARACTERS_MAX = 500

/** Try all mounts at once; a line for each on standard output, in their order. Returns the exit code. */
export async function tryMounts(mounts: readonly MountSettings[]): Promise<number> {
  const redactor = new Redactor()
  redactor.add(mounts.flatMap((mount) => secretValues(mount.options)))
  let exitCode = EXIT_OK
  const results = mounts.map((mount) => tryMount(mount))
  for (const [index, mount] of mounts.entries()) {
    const error = await results[index]
    if (error !== undefined) exitCode = EXIT_FAILURE
    const place = `${mount.name} (${mount.type}) at ${formatMountPoint(mount.mountPoint)}`
    const outcome = error === undefined ? 'ok' : `${error.errno}: ${reasonOf(error, redactor)}`
    process.stdout.write(`${place}: ${outcome}\n`)
  }
  return exitCode
}

/** Undefined when all is well. Never rejects. */
async function tryMount(mount: MountSettings): Promise<StorageError | undefined> {
  const timer = new AbortController()
  const { timeoutMs } = mount
  const timeout = delay(timeoutMs, undefined, { signal: timer.signal }).then(() => {
    throw new StorageError('ETIMEDOUT', `no answer within ${timeoutMs} ms`)
  })
  timeout.catch(() => undefined)
  try {
    await Promise.race([probe(mount), timeout])
    return undefined
  } catch (error) {
    return toStorageError(error)
  } finally {
    timer.abort()
  }
}

/**
 * Ask for the root, and list a directory that is small or missing: many stores take it for granted that a root exists,
 * and only a listing shows whether they let us in; that of the root itself may be endless.
 */
async function probe(mount: MountSettings): Promise<void> {
  if (mount.type === 'passthrough') {
    await (await opendir(mount.options['root'] ?? '/')).close()
    return
  }
  const backend = createBackend(mount)
  const stat = await backend.stat('')
  if (stat === null) throw new StorageError('ENOENT', 'the root is missing')
  if (stat.kind !== 'directory') throw new StorageError('ENOTDIR', 'the root is not a directory')
  try {
    await backend.list(RESERVED_DIRECTORY)
  } catch (error) {
    // A service without listings (http) has shown all that it can.
    if (toStorageError(error).errno !== 'EOPNOTSUPP') throw error
  }
}

/** One line, without secrets. */
function reasonOf(error: StorageError, redactor: Redactor): string {
  const line = redactor.text(error.message).replaceAll(/\s*\n\s*/g, ' ')
  return line.length > REASON_CHARACTERS_MAX ? `${line.slice(0, REASON_CHARACTERS_MAX)}...` : line
}
