import { statSync } from 'node:fs'
import type { Overrides } from '../config/index.js'

/**
 * What is wrong with --shared-dir, or undefined. A store of a configuration file may come later, but a daemon that was started
 * for one directory says at once that it is not there: so does virtiofsd, and who starts it looks at the exit code.
 */
export function sharedDirectoryFault({ sharedDirectory }: Overrides): string | undefined {
  if (sharedDirectory === undefined) return undefined
  const { root } = sharedDirectory
  try {
    return statSync(root).isDirectory() ? undefined : `--shared-dir: ${root} is not a directory`
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException
    return code === 'ENOENT'
      ? `--shared-dir: ${root} does not exist`
      : `--shared-dir: ${root} can't be used: ${code ?? String(error)}`
  }
}
