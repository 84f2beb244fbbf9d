import { createHash } from 'node:crypto'
import { once } from 'node:events'
import { existsSync, renameSync, rmSync, statSync } from 'node:fs'
import net from 'node:net'
import path from 'node:path'
import { DiskTier } from './disk-tier.js'
import { makeDirectory, type Durability } from './durable-directory.js'
import { describeStaged, noteOwner, type StagedDirectory, type StoreOwner } from './staged-directories.js'
import { Staging } from './staging.js'

const LOCK = 'lock'
const STAGED = 'staged'
const STORES = 'stores'
const BLOCKS = 'blocks'
/** Enough of a digest that two stores never share a directory. */
const KEY_CHARACTERS = 32

/**
 * The directory that `cache_dir` names:
 *
 *     lock       a socket that the daemon listens on for as long as it lives: one daemon to a directory
 *     staged/    a directory for each store: see `Staging`
 *     stores/    for each of them, whose it was: see staged-directories.ts
 *     blocks/    see `DiskTier`
 */
export class CacheDirectory {
  private readonly stagings = new Map<string, Staging>()

  private constructor(
    private readonly directory: string,
    private readonly durability: Durability,
    private readonly lock: net.Server,
    readonly tier: DiskTier,
  ) {}

  /** @throws Error when it can't be made, others may change what lies in it, or another daemon has it */
  static async open(
    directory: string,
    tierBytes: number,
    durability: Durability = 'host',
  ): Promise<CacheDirectory> {
    makeDirectory(directory, durability)
    for (const name of ['.', STAGED, STORES]) requireOwn(path.join(directory, name))
    makeDirectory(path.join(directory, STAGED), durability)
    const lock = await takeLock(path.join(directory, LOCK))
    const tier = new DiskTier(path.join(directory, BLOCKS), tierBytes)
    return new CacheDirectory(directory, durability, lock, tier)
  }

  /**
   * Where a store stages; `storeKey` tells stores apart, whatever the daemon calls them. `formerKey` is what an older daemon told it
   * apart by, where that was the same store.
   */
  stagingOf(storeKey: string, owner: StoreOwner, formerKey: string | null = null): Staging {
    const name = nameOf(storeKey)
    let staging = this.stagings.get(name)
    if (staging === undefined) {
      if (formerKey !== null) this.takeOver(nameOf(formerKey), name)
      staging = new Staging(this.stagedPath(name), this.durability)
      noteOwner(path.join(this.directory, STORES), name, owner)
      this.stagings.set(name, staging)
    }
    return staging
  }

  private stagedPath(name: string): string {
    return path.join(this.directory, STAGED, name)
  }

  private takeOver(formerName: string, name: string): void {
    const [former, present] = [this.stagedPath(formerName), this.stagedPath(name)]
    // Where both have something, the former one is told of as nobody's.
    if (existsSync(former) && !existsSync(present)) renameSync(former, present)
  }

  /** Everything that is staged here, whether a mount has it or not; looks at the disk. */
  staged(): Promise<StagedDirectory[]> {
    return describeStaged(path.join(this.directory, STAGED), path.join(this.directory, STORES), (name) =>
      this.stagings.has(name),
    )
  }

  close(): void {
    this.tier.close()
    this.lock.close()
  }
}

const WRITABLE_BY_OTHERS = 0o022

/**
 * What is staged there becomes files of stores, and what is cached is read as theirs.
 * @throws Error where others than the daemon's own user could put something there. What is missing is made by the daemon
 */
function requireOwn(directory: string): void {
  const stat = statSync(directory, { throwIfNoEntry: false })
  if (stat === undefined) return
  const uid = process.geteuid?.()
  if (stat.uid !== uid)
    throw new Error(
      `cache_dir: ${directory} belongs to user ${stat.uid}, and the daemon runs as ${String(uid)}`,
    )
  if ((stat.mode & WRITABLE_BY_OTHERS) !== 0)
    throw new Error(`cache_dir: others may write to ${directory}: chmod go-w it`)
}

function nameOf(storeKey: string): string {
  return createHash('sha256').update(storeKey).digest('hex').slice(0, KEY_CHARACTERS)
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
