/**
 * The program that is traced: random steps on a host directory, some at once, each told before it begins and when it has been
 * acknowledged. Started by `local-replay.test.ts`, which sets the environment.
 */
import { lstatSync, openSync, writeSync } from 'node:fs'
import { join } from 'node:path'
import type { Backend } from '../../../../src/backends/backend.js'
import { createBackend } from '../../../../src/backends/create-backend.js'
import { Random } from '../../model/random.js'
import { contentsOf, nameOf, parentOf, type Mark, type Step } from './steps.js'

const MAX_AT_ONCE = 4
const MAX_PARTS = 4
const MAX_SIZE_BYTES = 3000
/** So that names are used again, and few directories have much in them. */
const NAMES = ['a', 'b', 'c', 'd', 'e', 'f']
const MAX_DEPTH = 3

class Program {
  private readonly random: Random
  private readonly marks: number
  private readonly directories = new Set<string>([''])
  private readonly files = new Set<string>()
  /** What the steps that run at once are about. */
  private readonly busy = new Set<string | number>()
  private lastId = 0

  constructor(
    private readonly backend: Backend,
    private readonly root: string,
    seed: number,
    marksFile: string,
  ) {
    this.random = new Random(seed)
    this.marks = openSync(marksFile, 'w')
  }

  private tell(mark: Mark): void {
    writeSync(this.marks, JSON.stringify(mark))
  }

  private async step(step: Omit<Step, 'id'>, work: (id: number) => Promise<unknown>): Promise<void> {
    const id = ++this.lastId
    this.tell({ mark: 'begin', step: { id, ...step } })
    await work(id)
    this.tell({ mark: 'end', id })
  }

  async explore(directory = ''): Promise<void> {
    for (const { name, kind } of await this.backend.list(directory)) {
      const path = joined(directory, name)
      if (kind === 'file') this.files.add(path)
      else {
        this.directories.add(path)
        await this.explore(path)
      }
    }
  }

  async run(rounds: number): Promise<void> {
    for (let round = 0; round < rounds; round++) {
      this.busy.clear()
      if (this.random.chance(0.3)) await this.changeDirectories()
      const atOnce = 1 + this.random.below(MAX_AT_ONCE)
      this.busy.clear()
      await Promise.all(Array.from({ length: atOnce }, () => this.changeFile()))
    }
  }

  private pickDirectory(): string {
    // The youngest are those whose names are not durable.
    const all = [...this.directories]
    return this.random.pick(this.random.chance(0.5) ? all.slice(-2) : all)
  }

  /** Nobody else's in this round, by none of its names. */
  private pickFile(): string | undefined {
    const inodeOf = (path: string): number => lstatSync(join(this.root, path)).ino
    const files = [...this.files].filter((path) => !this.busy.has(path) && !this.busy.has(inodeOf(path)))
    const file = files.length === 0 ? undefined : this.random.pick(files)
    if (file !== undefined) this.busy.add(file).add(inodeOf(file))
    return file
  }

  private freePath(directory: string): string | undefined {
    const isFree = (path: string): boolean =>
      !this.busy.has(path) && !this.files.has(path) && !this.directories.has(path)
    const path = NAMES.map((name) => joined(directory, name)).find(isFree)
    if (path !== undefined) this.busy.add(path)
    return path
  }

  private async changeFile(): Promise<void> {
    const choice = this.random.below(12)
    if (choice < 3) await this.store(this.freePath(this.pickDirectory()))
    else if (choice < 5) await this.store(this.pickFile())
    else if (choice < 6) await this.append(this.pickFile())
    else if (choice < 7)
      await this.copy(
        this.pickFile(),
        this.random.chance(0.5) ? this.pickFile() : this.freePath(this.pickDirectory()),
      )
    else if (choice < 9)
      await this.rename(
        this.pickFile(),
        this.random.chance(0.4) ? this.pickFile() : this.freePath(this.pickDirectory()),
      )
    else if (choice < 10) await this.unlink(this.pickFile())
    else await this.sync(this.random.chance(0.2) ? null : this.pickDirectory())
  }

  private async changeDirectories(): Promise<void> {
    const choice = this.random.below(5)
    const parent = this.pickDirectory()
    const path = parent.split('/').length < MAX_DEPTH ? this.freePath(parent) : undefined
    if (choice < 3) await this.makeDirectory(path)
    else if (choice < 4) await this.moveDirectory(path)
    else await this.removeDirectory()
  }

  private async store(path: string | undefined): Promise<void> {
    if (path === undefined) return
    const isNew = !this.files.has(path)
    const version = isNew ? null : ((await this.backend.stat(path))?.version ?? null)
    // Without a condition the file is replaced by another call.
    const expected = this.random.chance(0.3) ? undefined : version
    const sizeBytes = 1 + this.random.below(MAX_SIZE_BYTES)
    const parts = this.random.chance(0.5) ? 0 : 1 + this.random.below(MAX_PARTS)
    await this.step({ kind: 'store', path, sizeBytes }, async (id) => {
      const data = Buffer.from(contentsOf(id, sizeBytes))
      if (parts === 0) await this.backend.write(path, data, expected)
      else {
        const writer = await this.backend.createWriter(path, expected)
        const partBytes = Math.ceil(sizeBytes / parts)
        for (let at = 0; at < sizeBytes; at += partBytes)
          await writer.write(data.subarray(at, at + partBytes))
        await writer.close()
      }
    })
    this.files.add(path)
  }

  private async append(path: string | undefined): Promise<void> {
    if (path === undefined) return
    const stat = await this.backend.stat(path)
    if (stat === null) throw new Error(`${path} is gone`)
    const sizeBytes = 1 + this.random.below(MAX_SIZE_BYTES)
    await this.step({ kind: 'append', path, sizeBytes }, (id) =>
      this.backend.append(path, Buffer.from(contentsOf(id, sizeBytes)), stat),
    )
  }

  private async copy(other: string | undefined, path: string | undefined): Promise<void> {
    if (other === undefined || path === undefined) return
    const expected = this.files.has(path) ? ((await this.backend.stat(path))?.version ?? null) : null
    await this.step({ kind: 'copy', path, other }, () => this.backend.copy(other, path, expected))
    this.files.add(path)
  }

  private async rename(path: string | undefined, other: string | undefined): Promise<void> {
    if (path === undefined || other === undefined) return
    const { backend } = this
    // What is replaced is open, and is kept until it is closed.
    const aside = this.files.has(other) && this.random.chance(0.5) ? `.ovfsd/aside-${++this.lastId}` : null
    if (aside !== null) await backend.keepAside?.(other, aside)
    this.files.delete(path)
    await this.step({ kind: 'rename', path, other }, () => backend.rename(path, other, 'file'))
    this.files.add(other)
    if (aside !== null) await backend.removeFile(aside)
  }

  private async unlink(path: string | undefined): Promise<void> {
    if (path === undefined) return
    const { backend } = this
    const hidden = this.random.chance(0.5) ? `.ovfsd/hidden-${++this.lastId}` : null
    this.files.delete(path)
    await this.step({ kind: 'unlink', path }, () =>
      hidden === null ? backend.removeFile(path) : backend.rename(path, hidden, 'file'),
    )
    if (hidden !== null) await backend.removeFile(hidden)
  }

  private async sync(path: string | null): Promise<void> {
    await this.step({ kind: 'sync', path }, async () => this.backend.syncNames?.(path ?? undefined))
  }

  private async makeDirectory(path: string | undefined): Promise<void> {
    if (path === undefined) return
    await this.step({ kind: 'mkdir', path }, () => this.backend.createDirectory(path))
    this.directories.add(path)
  }

  private async moveDirectory(target: string | undefined): Promise<void> {
    if (target === undefined) return
    const sources = [...this.directories].filter((path) => path !== '' && !isBelow(target, path))
    if (sources.length === 0) return
    const path = this.random.pick(sources)
    await this.step({ kind: 'rename', path, other: target }, () =>
      this.backend.rename(path, target, 'directory'),
    )
    for (const set of [this.directories, this.files]) {
      for (const moved of [...set].filter((at) => isBelow(at, path))) {
        set.delete(moved)
        set.add(target + moved.slice(path.length))
      }
    }
  }

  private async removeDirectory(): Promise<void> {
    const used = new Set([...this.files, ...this.directories].map(parentOf))
    const empty = [...this.directories].filter((path) => path !== '' && !used.has(path))
    if (empty.length === 0) return
    const path = this.random.pick(empty)
    await this.step({ kind: 'rmdir', path }, () => this.backend.removeDirectory(path))
    this.directories.delete(path)
  }
}

function joined(directory: string, name: string): string {
  return directory === '' ? name : `${directory}/${name}`
}

function isBelow(path: string, directory: string): boolean {
  return path === directory || path.startsWith(`${directory}/`)
}

function setting(name: string): string {
  const value = process.env[name]
  if (value === undefined) throw new Error(`${nameOf(process.argv[1] ?? '')} needs ${name}`)
  return value
}

const root = setting('ROOT')
const backend = createBackend({ type: 'fs', options: { root }, timeoutMs: 30_000 })
const program = new Program(backend, root, Number(setting('SEED')), setting('MARKS'))
await program.explore()
await program.run(Number(setting('ROUNDS')))
