import path from 'node:path'
import { fileURLToPath } from 'node:url'

/** The repository's root directory. */
export const root = fileURLToPath(new URL('../../', import.meta.url)).replace(/\/$/, '')

/** What set-up downloads and builds outside of node_modules, dist and the addons' build folders. OVFSD_CACHE moves it, for example to a disk that outlives the clone. */
export const cacheDir = path.resolve(process.env.OVFSD_CACHE || path.join(root, '.cache'))

/** The prefix of the running Node.js: the C++ headers are in `include/node` below it. */
export const nodePrefix = path.dirname(path.dirname(process.execPath))

/** An absolute path from one that is relative to the repository's root. */
export const inRoot = (...parts) => path.join(root, ...parts)
