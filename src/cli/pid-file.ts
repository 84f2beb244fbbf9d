/** `<socket>.pid`, as virtiofsd writes it. */
import { closeSync, constants, openSync, readFileSync, rmSync, writeSync } from 'node:fs'

import { hostProcessId } from '../observability/host-process-id.js'

export const PID_FILE_SUFFIX = '.pid'

const MODE = 0o644

/**
 * Write it, and remove it when the process ends. The caller listens on the socket beside it, which nobody else can
 * meanwhile: what lies there is of a daemon that is gone.
 * @throws Error when it can't be written
 */
export function keepPidFile(path: string): void {
  const own = `${hostProcessId()}\n`
  rmSync(path, { force: true })
  // In a directory that others may write to, somebody may have put a link there.
  const fd = openSync(
    path,
    constants.O_WRONLY | constants.O_CREAT | constants.O_EXCL | constants.O_NOFOLLOW,
    MODE,
  )
  try {
    writeSync(fd, own)
  } finally {
    closeSync(fd)
  }
  process.once('exit', () => {
    try {
      if (readFileSync(path, 'utf8') === own) rmSync(path)
    } catch {
      // Removed by whoever waited for the end.
    }
  })
}
