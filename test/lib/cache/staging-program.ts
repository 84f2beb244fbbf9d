/** The program that `staging-replay.test.ts` traces: records are written, amended, forgotten and set aside in a new `cache_dir`. */
import { openSync, readFileSync, writeSync } from 'node:fs'
import { join } from 'node:path'
import { newWriteMark } from '../../../src/backends/write-mark.js'
import { CacheDirectory } from '../../../src/cache/cache-directory.js'
import type { StagedDescription } from '../../../src/cache/staged-record.js'
import type { Staging } from '../../../src/cache/staging.js'
import { Random } from '../model/random.js'

const STORES = 2
const MAX_AT_ONCE = 4
const MAX_SIZE_BYTES = 5000
const TIER_BYTES = 64 << 20

/** A line of the file of marks: what is at a path below the root from now on, or that this may go, or move aside. */
export type StagingMark =
  | { readonly kind: 'kept'; readonly path: string; readonly text: string }
  | { readonly kind: 'changing'; readonly path: string; readonly aside: string | null }

const root = process.env['ROOT'] ?? ''
const random = new Random(Number(process.env['SEED']))
const marks = openSync(process.env['MARKS'] ?? '', 'w')

function tell(mark: StagingMark): void {
  writeSync(marks, JSON.stringify(mark))
}

function pathBelow(absolute: string): string {
  return absolute.slice(root.length + 1)
}

function described(sizeBytes: number): StagedDescription {
  const place = { paths: ['file'], mtime: null, attributes: undefined, base: null, expected: null, marks: [] }
  const sizes = { sizeBytes, baseBytes: 0, baseLimit: 0, ranges: [[0, sizeBytes] as const] }
  return { ...place, ...sizes, next: newWriteMark(), replaces: null }
}

class Store {
  private readonly ids = new Set<string>()

  constructor(private readonly staging: Staging) {}

  private take(): string | undefined {
    const [...ids] = this.ids
    const id = ids.length === 0 ? undefined : random.pick(ids)
    if (id !== undefined) this.ids.delete(id)
    return id
  }

  private keep(path: string): void {
    tell({ kind: 'kept', path: pathBelow(path), text: readFileSync(path, 'latin1') })
  }

  private changing(path: string, aside: string | null = null): void {
    tell({ kind: 'changing', path: pathBelow(path), aside: aside === null ? null : pathBelow(aside) })
  }

  async step(): Promise<void> {
    const choice = random.below(8)
    if (choice < 4) return this.write()
    const id = this.take()
    if (id === undefined) return
    const path = this.staging.pathOf(id)
    if (choice === 4) {
      this.changing(path)
      this.changing(`${path}.place`)
      await this.staging.forget(id)
    } else if (choice === 5) {
      const aside = join(this.staging.conflicts.directory, id)
      this.changing(path, aside)
      this.changing(`${path}.place`)
      await this.staging.setAside(id)
      this.keep(aside)
    } else {
      const amended = `${path}.place`
      this.changing(amended)
      await this.staging.amend(id, { ...described(1), paths: [`file${random.below(1000)}`] })
      this.keep(amended)
      this.ids.add(id)
    }
  }

  private async write(): Promise<void> {
    const data = Buffer.alloc(1 + random.below(MAX_SIZE_BYTES), 97 + random.below(26))
    const id = await this.staging.write(described(data.length), [data])
    this.keep(this.staging.pathOf(id))
    this.ids.add(id)
  }
}

const cache = await CacheDirectory.open(join(root, 'deep/cache'), TIER_BYTES)
const stores = Array.from({ length: STORES }, (_, index) => {
  const owner = { profile: 'p', type: 's3', mountPoint: '' }
  return new Store(cache.stagingOf(String(index), owner))
})
for (let round = Number(process.env['ROUNDS']); round > 0; round--) {
  const atOnce = Array.from({ length: 1 + random.below(MAX_AT_ONCE) }, () => random.pick(stores).step())
  await Promise.all(atOnce)
}
cache.close()
