/** What a guest may find after the daemon has died: as it was before the operation that was under way, or as that would have left it. */
import { StorageError } from '../../../src/backends/storage-error.js'
import { FsError } from '../../../src/fs/fs-error.js'
import type { Fault } from '../reference-store/faults.js'
import type { ReferenceStore } from '../reference-store/reference-store.js'
import { O_RDWR, O_TRUNC } from './guest.js'
import type { MortalDaemon } from './mortal.js'

/** Files and what is in them. */
export type World = ReadonlyMap<string, string>

/** A guest of a daemon that may die in any of its operations. */
export class MortalGuest {
  /** Each may be found. */
  worlds: World[]

  constructor(
    readonly daemon: MortalDaemon,
    store: ReferenceStore,
  ) {
    this.worlds = [worldOf(store)]
  }

  /** While `work` goes on, the world is as before or as `change` makes it; then as it makes it, or as before if it is refused. */
  private async becomes(
    name: string,
    change: (world: Map<string, string>) => void,
    work: () => Promise<unknown>,
    between: (world: Map<string, string>) => void = change,
  ): Promise<void> {
    const before = this.worlds
    const after = before.map((world) => changed(world, change))
    this.worlds = [...before, ...after, ...before.map((world) => changed(world, between))]
    try {
      await this.daemon.live(name, work)
      this.worlds = after
    } catch (error) {
      if (!(error instanceof FsError || error instanceof StorageError)) throw error
      const isUnknown = error instanceof StorageError && error.outcome === 'unknown'
      if (!isUnknown) this.worlds = before
      this.daemon.trace.push(`${name}: ${error.errno}`)
    }
  }

  /** open O_TRUNC, write, close. */
  async writeFile(path: string, text: string): Promise<void> {
    await this.becomes(
      `write ${path}`,
      (world) => world.set(path, text),
      async () => {
        const fh = await this.daemon.driver.create([path], O_RDWR | O_TRUNC)
        await this.writeAndClose(fh, 0, text)
      },
    )
  }

  /** open, write somewhere, close. */
  async change(path: string, offset: number, text: string): Promise<void> {
    await this.becomes(
      `change ${path} ${offset}+${text.length}`,
      (world) => {
        const before = world.get(path) ?? ''
        const end = offset + text.length
        world.set(path, before.slice(0, offset).padEnd(offset, '\0') + text + before.slice(end))
      },
      async () => {
        await this.writeAndClose(await this.daemon.driver.open([path], O_RDWR), offset, text)
      },
    )
  }

  private async writeAndClose(fh: number, offset: number, text: string): Promise<void> {
    const { driver } = this.daemon
    await driver.write(fh, offset, Buffer.from(text, 'latin1'))
    await driver.close(fh)
  }

  async truncate(path: string, sizeBytes: number): Promise<void> {
    await this.becomes(
      `truncate ${path} ${sizeBytes}`,
      (world) => world.set(path, (world.get(path) ?? '').slice(0, sizeBytes).padEnd(sizeBytes, '\0')),
      () => this.daemon.driver.truncate([path], sizeBytes),
    )
  }

  /** Open for good: until the end, or the daemon's. */
  async hold(path: string): Promise<void> {
    await this.daemon.live(`hold ${path}`, () => this.daemon.driver.open([path], O_RDWR))
  }

  async rename(from: string, to: string): Promise<void> {
    const copied = this.daemon.backend.store.text(from)
    await this.becomes(
      `rename ${from} ${to}`,
      (world) => {
        world.set(to, world.get(from) ?? '')
        world.delete(from)
      },
      () => this.daemon.driver.rename([from], [to], 0),
      // Where a rename is a copy and a removal: what is copied is what is stored by then.
      (world) => world.set(to, copied ?? world.get(from) ?? ''),
    )
  }

  async unlink(path: string): Promise<void> {
    await this.becomes(
      `unlink ${path}`,
      (world) => {
        world.delete(path)
      },
      () => this.daemon.driver.unlink([path]),
    )
  }

  /** The next call of this kind fails so. */
  fails(method: string, fault: Fault): void {
    this.daemon.nextFault = { method, fault }
  }

  async sync(): Promise<void> {
    await this.daemon.live('sync', () => this.daemon.driver.fs.commitAll(() => undefined))
  }

  /** Why the store may not be as it is after a recovery; null: it may. */
  whyNot(store: ReferenceStore): string | null {
    const found = describe(worldOf(store))
    const may = [...new Set(this.worlds.map(describe))]
    return may.includes(found) ? null : `found ${found}\n    and not ${may.join('\n         or ')}`
  }
}

function worldOf(store: ReferenceStore): World {
  return new Map([...store.visible()].map(([path, { data }]) => [path, data.toString('latin1')]))
}

function changed(world: World, change: (world: Map<string, string>) => void): World {
  const result = new Map(world)
  change(result)
  return result
}

function describe(world: World): string {
  const files = [...world].sort(([one], [other]) => (one < other ? -1 : 1))
  return files
    .map(([path, text]) => {
      const runs = text.match(/(.)\1*/gs) ?? []
      return `${path}: ${runs.map((run) => `${run.length}${run[0] === '\0' ? '.' : (run[0] ?? '')}`).join(' ')}`
    })
    .join(', ')
}
