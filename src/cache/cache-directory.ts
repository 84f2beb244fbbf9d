import { createHash } from 'node:crypto'
import { once } from 'node:events'
import { mkdirSync, rmSync } from 'node:fs'
import net from 'node:net'
import path from 'node:path'
import { DiskTier } from './disk-tier.js'
import { Staging } from './staging.js'

const LOCK = 'lock'
const STAGED = 'staged'
const BLOCKS = 'blocks'
/** Enough of a digest that two stores never share a directory. */
const KEY_CHARACTERS = 32

/**
 * The directory that `cache_dir` names:
 *
 *     lock       a socket that the daemon listens on for as long as it lives: one daemon to a directory
 *     staged/    a directory for each store: see `Staging`
 *     blocks/    see `DiskTier`
 */
export class CacheDirectory {
  private readonly stagings = new Map<string, Staging>()

  private constructor(
    private readonly directory: string,
    private readonly lock: net.Server,
    readonly tier: DiskTier,
  ) {}

  /** @throws Error when it can't be made or another daemon has it */
  static async open(directory: string, tierBytes: number): Promise<CacheDirectory> {
    mkdirSync(directory, { recursive: true, mode: 0o700 })
    const lock = await takeLock(path.join(directory, LOCK))
    return new CacheDirectory(directory, lock, new DiskTier(path.join(directory, BLOCKS), tierBytes))
  }

  /** Where a store stages; `storeKey` tells stores apart, whatever the daemon calls them. */
  stagingOf(storeKey: string): Staging {
    const name = createHash('sha256').update(storeKey).digest('hex').slice(0, KEY_CHARACTERS)
    let staging = this.stagings.get(name)
    if (staging === undefined) {
      staging = new Staging(path.join(this.directory, STAGED, name))
      this.stagings.set(name, staging)
    }
    return staging
  }

  close(): void {
    this.tier.close()
    this.lock.close()
  }
}

/** The kernel gives it back when the process ends, however that is; a file with a process id would tell nothing across containers. */
async function takeLock(socketPath: string): Promise<net.Server> {
  if (await isTaken(socketPath)) throw new Error(`cache_dir: another daemon uses ${path.dirname(socketPath)}`)
  rmSync(socketPath, { force: true })
  const server = net.createServer((connection) => connection.destroy())
  server.listen(socketPath)
  await once(server, 'listening')
  server.unref()
  return server
}

async function isTaken(socketPath: string): Promise<boolean> {
  const connection = net.connect(socketPath)
  try {
    await once(connection, 'connect')
    return true
  } catch {
    return false
  } finally {
    connection.destroy()
  }
}
