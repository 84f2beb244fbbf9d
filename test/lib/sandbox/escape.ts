/** Started in a sandbox in place of the daemon: reaches for the host by a directory that it has come by open, as descriptor 3. */
import { closeSync, openSync, readFileSync, renameSync, writeFileSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import { Launcher } from '../../../src/cli/launcher.js'

export const ESCAPE = fileURLToPath(import.meta.url)

export const HOST_DIRECTORY_FD = 3

/** What became of an attempt: "done", or the errno. */
export interface Attempts {
  readonly hasLandlock: boolean
  readonly readOutside: string
  readonly writeOutside: string
  readonly readInside: string
  readonly renameOutside: string
  /** Opening only: the file is the host's. */
  readonly openCorePattern: string
}

function outcomeOf(attempt: () => void): string {
  try {
    attempt()
    return 'done'
  } catch (error) {
    return (error as NodeJS.ErrnoException).code ?? String(error)
  }
}

if (process.argv[1] === ESCAPE) {
  const outside = `/proc/self/fd/${HOST_DIRECTORY_FD}`
  const attempts: Attempts = {
    hasLandlock: Launcher.take()?.hasLandlock === true,
    readOutside: outcomeOf(() => readFileSync(`${outside}/secret`)),
    writeOutside: outcomeOf(() => {
      writeFileSync(`${outside}/planted`, '')
    }),
    renameOutside: outcomeOf(() => {
      renameSync(`${outside}/secret`, `${outside}/shared/secret`)
    }),
    readInside: outcomeOf(() => readFileSync(ESCAPE)),
    openCorePattern: outcomeOf(() => {
      closeSync(openSync('/proc/sys/kernel/core_pattern', 'r+'))
    }),
  }
  process.stdout.write(JSON.stringify(attempts))
}
