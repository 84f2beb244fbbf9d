/** Read the configuration file. */
import { closeSync, fstatSync, openSync, readFileSync } from 'node:fs'
import { fileErrorReason } from './file-error.js'
import { formatSize } from './size.js'
import type { Overrides } from './command-line.js'
import { parseControlSocket, parseSettings } from './parse.js'
import { ConfigError } from './problem.js'
import type { Settings } from './settings.js'

/** A file with a thousand profiles is a tenth of this; anything larger is another file, given by mistake. */
const FILE_BYTES_MAX = 1024 * 1024
const TOO_LARGE = `it is larger than ${formatSize(FILE_BYTES_MAX)}`

/** What messages call a configuration that has no file. */
const COMMAND_LINE = 'command line'

/**
 * Load, validate and fill in a configuration file; undefined: the command line's values are all there is.
 * @throws ConfigError with every problem, each one line
 */
export function loadSettings(file: string | undefined, overrides: Overrides = {}): Settings {
  return file === undefined
    ? parseSettings('', COMMAND_LINE, overrides)
    : parseSettings(readText(file), file, overrides)
}

/**
 * The control socket that the configuration file names; null: none.
 * @throws ConfigError
 */
export function loadControlSocket(file: string): string | null {
  return parseControlSocket(readText(file), file)
}

/** Whether others than the owner can read or write the file, which matters when it holds credentials. */
export function isOpenToOthers(file: string): boolean {
  const OTHERS = 0o077
  const fd = openSync(file, 'r')
  try {
    return (fstatSync(fd).mode & OTHERS) !== 0
  } finally {
    closeSync(fd)
  }
}

function readText(file: string): string {
  const fail = (reason: string): never => {
    throw new ConfigError(file, [{ keyPath: '', message: `can't be read: ${reason}` }])
  }
  let bytes: Buffer
  try {
    const fd = openSync(file, 'r')
    try {
      if (fstatSync(fd).size > FILE_BYTES_MAX) return fail(TOO_LARGE)
      bytes = readFileSync(fd)
    } finally {
      closeSync(fd)
    }
  } catch (error) {
    if (error instanceof ConfigError) throw error
    return fail(fileErrorReason(error))
  }
  try {
    return new TextDecoder('utf-8', { fatal: true }).decode(bytes)
  } catch {
    return fail('it is not UTF-8 text')
  }
}
