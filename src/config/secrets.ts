/** Secrets that stand elsewhere than in the configuration file: in the environment, or in files of their own. */
import { isAbsolute } from 'node:path'
import { isSecretName } from '../observability/redaction.js'
import { describeValue, ValueError } from './problem.js'
import { ReadFileError, readSmallFile } from './read-file.js'
import { optionNameFault, type Service } from './services.js'

/** `token_file = "/path"` is the option `token`, read from a file. */
const SECRET_FILE_SUFFIX = '_file'

/** A key with its certificates is a tenth of this; anything larger is another file, given by mistake. */
const SECRET_BYTES_MAX = 64 * 1024

/** `$${` (the characters themselves), `${NAME}`, or `${` that is neither. */
const VARIABLE = /\$\$\{|\$\{(?:([A-Za-z_][A-Za-z0-9_]*)\})?/g

/**
 * Replace each `${NAME}` by that environment variable, and `$${` by `${`. What a variable holds is not looked at again.
 * @throws ValueError naming a variable that is not set
 */
export function expandVariables(text: string, environment: NodeJS.ProcessEnv): string {
  return text.replace(VARIABLE, (match, name: string | undefined) => {
    if (match === '$${') return '${'
    if (name === undefined) {
      throw new ValueError(
        'has "${" without the name of an environment variable and "}"; write "$${" for the characters themselves',
      )
    }
    const value = Object.hasOwn(environment, name) ? environment[name] : undefined
    if (value === undefined) throw new ValueError(`needs the environment variable ${name}, which is not set`)
    return value
  })
}

/** The secret option that a key `<option>_file` is for; undefined when the key is something else. */
export function secretFileOption(type: string, service: Service, key: string): string | undefined {
  if (!key.endsWith(SECRET_FILE_SUFFIX)) return undefined
  const isOption = service.options !== undefined && optionNameFault(type, service, key, []) === undefined
  const option = key.slice(0, -SECRET_FILE_SUFFIX.length)
  return isOption || !isSecretName(option) ? undefined : option
}

/**
 * The text of a file without the line end that editors put there.
 * @throws ValueError saying why it can't be read; never repeats what is in it
 */
export function readSecretFile(path: unknown): string {
  if (typeof path !== 'string')
    throw new ValueError(`expected the path of a file, found ${describeValue(path)}`)
  if (!isAbsolute(path)) throw new ValueError('expected an absolute path, such as "/run/secrets/token"')
  if (path.includes('\0')) throw new ValueError('holds a NUL character, which no path may')
  const text = readText(path).replace(/\r?\n$/, '')
  if (text === '') throw new ValueError('names a file that is empty')
  return text
}

function readText(path: string): string {
  let bytes: Buffer
  try {
    bytes = readSmallFile(path, { maxBytes: SECRET_BYTES_MAX })
  } catch (error) {
    if (!(error instanceof ReadFileError)) throw error
    throw new ValueError(`names a file that can't be read: ${error.message}`)
  }
  try {
    return new TextDecoder('utf-8', { fatal: true }).decode(bytes)
  } catch {
    throw new ValueError('names a file that is not UTF-8 text')
  }
}
