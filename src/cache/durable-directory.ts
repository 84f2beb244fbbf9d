/** Files of the host that appear whole or not at all, whatever ends the process or the host. */
import { closeSync, fsyncSync, mkdirSync, openSync } from 'node:fs'
import { open, rename, unlink, type FileHandle } from 'node:fs/promises'
import path from 'node:path'

/**
 * What an acknowledged file survives. `host`: the end of the host's kernel and of its power, too, for what was written is flushed
 * to the disk first. `process`: the end of this process.
 */
export type Durability = 'host' | 'process'

/** Of a file that is being written. One that a process has left was acknowledged to nobody. */
export const UNFINISHED_SUFFIX = '.new'

/** A file that is being written from front to back. */
export interface NewFile {
  write(data: Uint8Array): Promise<void>
  /** Its bytes are on the disk when this resolves; its name may not be. */
  sync(): Promise<void>
  close(): Promise<void>
}

/** Every call that changes a directory of the host: what a crash may come between. */
export interface HostFiles {
  /** EEXIST where there is one. */
  create(filePath: string): Promise<NewFile>
  rename(from: string, to: string): Promise<void>
  remove(filePath: string): Promise<void>
  /** The names in the directory are on the disk as they are now. */
  syncDirectory(directory: string): Promise<void>
}

class HostFile implements NewFile {
  constructor(private readonly handle: FileHandle) {}

  async write(data: Uint8Array): Promise<void> {
    // Not `write`: the kernel may take a part, as many bytes as there is room for.
    await this.handle.writeFile(data)
  }

  sync(): Promise<void> {
    return this.handle.datasync()
  }

  close(): Promise<void> {
    return this.handle.close()
  }
}

export const hostFiles: HostFiles = {
  create: async (filePath) => new HostFile(await open(filePath, 'wx', 0o600)),
  rename,
  remove: unlink,
  syncDirectory: async (directory) => {
    const handle = await open(directory)
    try {
      await handle.sync()
    } finally {
      await handle.close()
    }
  },
}

/**
 * Make a directory, and those above it that are missing; the way to it outlives what `durability` says. Its own name is flushed even if it
 * was there: whoever made it may have been killed before that.
 */
export function makeDirectory(directory: string, durability: Durability): void {
  const first = mkdirSync(directory, { recursive: true, mode: 0o700 })
  if (durability === 'process') return
  for (let at = path.resolve(directory); ; at = path.dirname(at)) {
    flushNames(path.dirname(at))
    if (first === undefined || at === path.resolve(first)) return
  }
}

function flushNames(directory: string): void {
  const descriptor = openSync(directory, 'r')
  try {
    fsyncSync(descriptor)
  } finally {
    closeSync(descriptor)
  }
}

/** A directory whose files are put there and taken away in one step each. */
export class DurableDirectory {
  private syncing: Promise<void> | null = null
  private nextSync: Promise<void> | null = null
  private putCount = 0
  /** Something was taken away since the last flush began. */
  private hasRemoved = false

  constructor(
    readonly directory: string,
    readonly durability: Durability = 'host',
    private readonly files: HostFiles = hostFiles,
  ) {}

  pathOf(name: string): string {
    return path.join(this.directory, name)
  }

  /** Put a file there, in place of one of this name; it counts when this resolves. After an error, what was there before stays. */
  async put(name: string, writeContents: (file: NewFile) => Promise<void>): Promise<void> {
    const unfinished = this.pathOf(`${name}.${++this.putCount}${UNFINISHED_SUFFIX}`)
    try {
      await this.writeFile(unfinished, writeContents)
      await this.files.rename(unfinished, this.pathOf(name))
    } catch (error) {
      await this.files.remove(unfinished).catch(() => undefined)
      throw error
    }
    await this.sync()
  }

  private async writeFile(filePath: string, writeContents: (file: NewFile) => Promise<void>): Promise<void> {
    const file = await this.files.create(filePath)
    try {
      await writeContents(file)
      if (this.durability === 'host') await file.sync()
    } finally {
      await file.close()
    }
  }

  /** Without waiting for the disk: a crash may bring the file back, until `flushRemoved`. ENOENT where it is not there. */
  async remove(name: string): Promise<void> {
    await this.files.remove(this.pathOf(name))
    this.hasRemoved = true
  }

  /** What was taken away so far stays away. */
  flushRemoved(): Promise<void> {
    return this.hasRemoved ? this.sync() : Promise.resolve()
  }

  /** Move a file to another directory of the same file system. */
  async moveTo(target: DurableDirectory, name: string, newName = name): Promise<void> {
    await this.files.rename(this.pathOf(name), target.pathOf(newName))
    await target.sync()
  }

  /**
   * What was put there and taken away so far is so after a crash. Whoever comes while the disk is at work waits for one more
   * time, together with all others who came meanwhile.
   */
  private sync(): Promise<void> {
    if (this.durability === 'process') return Promise.resolve()
    if (this.syncing === null) return this.startSync()
    this.nextSync ??= this.syncing
      .catch(() => undefined)
      .then(() => {
        this.nextSync = null
        return this.startSync()
      })
    return this.nextSync
  }

  private startSync(): Promise<void> {
    this.hasRemoved = false
    this.syncing = this.files
      .syncDirectory(this.directory)
      .catch((error: unknown) => {
        this.hasRemoved = true
        throw error
      })
      .finally(() => {
        this.syncing = null
      })
    return this.syncing
  }
}
