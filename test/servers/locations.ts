import { existsSync } from 'node:fs'
import path from 'node:path'
import { fileURLToPath } from 'node:url'

/** The repository's root, from dist/test/servers. */
export const projectRoot = fileURLToPath(new URL('../../../', import.meta.url))
/** Where set-up puts what it fetches: the same rule as in scripts/lib/paths.mjs. */
const environmentCache = process.env.OVFSD_CACHE ?? ''
const cacheDirectory = path.resolve(
  environmentCache === '' ? path.join(projectRoot, '.cache') : environmentCache,
)

export const hadoopDirectory = path.join(cacheDirectory, 'hadoop')
/** One line that says why set-up could not fetch Hadoop. */
export const hadoopProblemFile = path.join(cacheDirectory, 'hadoop-problem')

/** Apache httpd's unpacked packages, as below `packagesRoot`. */
export const httpdDirectory = path.join(cacheDirectory, 'httpd')

/** Prometheus's unpacked package. */
export const prometheusDirectory = path.join(cacheDirectory, 'prometheus')

/** The unpacked packages: a root directory with usr/bin and so on. */
export const packagesRoot = path.join(cacheDirectory, 'servers/root')
export const packagesLibraries = path.join(packagesRoot, 'usr/lib/x86_64-linux-gnu')

/** Full path of a program from the unpacked packages. */
export function packagedProgram(name: string): string {
  const file = path.join(packagesRoot, 'usr/bin', name)
  if (!existsSync(file)) throw new Error(`${file} is missing: run "node scripts/setup.mjs servers"`)
  return file
}
