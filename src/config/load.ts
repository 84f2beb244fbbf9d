/** Read the configuration file. */
import { statSync } from 'node:fs'
import type { Overrides } from './command-line.js'
import { parseControlSocket, parseSettings } from './parse.js'
import { ConfigError } from './problem.js'
import { ReadFileError, readSmallFile } from './read-file.js'
import type { Settings } from './settings.js'

/** A file with a thousand profiles is a tenth of this; anything larger is another file, given by mistake. */
const FILE_BYTES_MAX = 1024 * 1024

/** What messages call a configuration that has no file. */
const COMMAND_LINE = 'command line'

/**
 * Load, validate and fill in a configuration file; undefined: the command line's values are all there is. `allowPipe`: when the program
 * starts, and nobody waits for anything else.
 * @throws ConfigError with every problem, each one line
 */
export function loadSettings(
  file: string | undefined,
  overrides: Overrides = {},
  { allowPipe = false } = {},
): Settings {
  return file === undefined
    ? parseSettings('', COMMAND_LINE, overrides)
    : parseSettings(readText(file, allowPipe), file, overrides)
}

/**
 * The control socket that the configuration file names; null: none.
 * @throws ConfigError
 */
export function loadControlSocket(file: string): string | null {
  return parseControlSocket(readText(file, true), file)
}

/** Whether others than the owner can read or write the file, which matters when it holds credentials. */
export function isOpenToOthers(file: string): boolean {
  const OTHERS = 0o077
  return (statSync(file).mode & OTHERS) !== 0
}

/** What comes through a pipe can't be loaded again. */
export function isPipe(file: string): boolean {
  return statSync(file, { throwIfNoEntry: false })?.isFIFO() ?? false
}

function readText(file: string, allowPipe: boolean): string {
  const fail = (reason: string): never => {
    throw new ConfigError(file, [{ keyPath: '', message: `can't be read: ${reason}` }])
  }
  let bytes: Buffer
  try {
    bytes = readSmallFile(file, { maxBytes: FILE_BYTES_MAX, allowPipe })
  } catch (error) {
    if (!(error instanceof ReadFileError)) throw error
    return fail(error.message)
  }
  try {
    return new TextDecoder('utf-8', { fatal: true }).decode(bytes)
  } catch {
    return fail('it is not UTF-8 text')
  }
}
