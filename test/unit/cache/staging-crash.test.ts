/**
 * A file is closed, renamed and committed again and again while every call to its staging directory is recorded. Then each
 * beginning of that record is put on another disk, as the death of the process and as the end of the host's power may have left
 * it, and the next daemon recovers: the file is as it was acknowledged, or as the step under way makes it.
 */
import assert from 'node:assert/strict'
import { mkdirSync, mkdtempSync, readdirSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { basename, join } from 'node:path'
import { after, describe, it } from 'node:test'
import { newWriteMark } from '../../../src/backends/write-mark.js'
import { hostFiles, type HostFiles } from '../../../src/cache/durable-directory.js'
import { Recovery, recoverFirst } from '../../../src/cache/recovery.js'
import type { StagedPlace } from '../../../src/cache/staged-record.js'
import { Staging } from '../../../src/cache/staging.js'
import { createLogger } from '../../../src/observability/logger.js'
import { chooseSeed, Random } from '../../lib/model/random.js'
import { VersionedStore } from '../../support/versioned-store.js'

const STEPS = 24
/** Ways in which the end of the power may treat what was not flushed, tried for each beginning. */
const POWER_CUTS = 4

const root = mkdtempSync(join(tmpdir(), 'ovfsd-trace-'))
after(() => {
  rmSync(root, { recursive: true, force: true })
})

type Call =
  | { readonly kind: 'create'; readonly name: string }
  | { readonly kind: 'write'; readonly name: string; readonly data: Buffer }
  | { readonly kind: 'sync'; readonly name: string }
  | { readonly kind: 'rename'; readonly from: string; readonly to: string }
  | { readonly kind: 'remove'; readonly name: string }
  | { readonly kind: 'syncDirectory' }
  | { readonly kind: 'store' }

/** A file at a path. */
interface State {
  readonly path: string
  readonly text: string
}

/** What was so when a call had been made. */
interface Moment {
  readonly call: Call
  readonly objects: VersionedStore['objects']
  readonly acknowledged: State | null
  /** What the step under way makes of it. */
  readonly coming: State | null
}

/** A daemon with one file, whose calls are recorded. */
class Traced {
  readonly moments: Moment[] = []
  readonly store = new VersionedStore()
  private readonly staging: Staging
  private acknowledged: State | null = null
  private coming: State | null = null
  private record: { readonly id: string; readonly next: string } | null = null

  constructor(private readonly random: Random) {
    const record = (call: Call): void => {
      const { acknowledged, coming } = this
      this.moments.push({ call, objects: new Map(this.store.objects), acknowledged, coming })
    }
    this.store.before = () => {
      record({ kind: 'store' })
    }
    const files: HostFiles = {
      create: async (path) => {
        const file = await hostFiles.create(path)
        const name = basename(path)
        record({ kind: 'create', name })
        return {
          write: async (data) => {
            await file.write(data)
            record({ kind: 'write', name, data: Buffer.from(data) })
          },
          sync: async () => {
            await file.sync()
            record({ kind: 'sync', name })
          },
          close: () => file.close(),
        }
      },
      rename: async (from, to) => {
        await hostFiles.rename(from, to)
        record({ kind: 'rename', from: basename(from), to: basename(to) })
      },
      remove: async (path) => {
        await hostFiles.remove(path)
        record({ kind: 'remove', name: basename(path) })
      },
      syncDirectory: async (path) => {
        await hostFiles.syncDirectory(path)
        record({ kind: 'syncDirectory' })
      },
    }
    this.staging = new Staging(mkdtempSync(join(root, 'traced-')), 'host', files)
  }

  private place(paths: readonly string[]): StagedPlace {
    const version =
      this.store.objects.get(paths.find((path) => this.store.objects.has(path)) ?? '')?.version ?? null
    const next = this.record?.next ?? newWriteMark()
    return { paths, mtime: null, attributes: undefined, base: version, expected: version, marks: [], next }
  }

  private async step(coming: State, work: () => Promise<void>): Promise<void> {
    this.coming = coming
    await work()
    this.acknowledged = coming
    this.coming = null
  }

  private close(text: string): Promise<void> {
    const path = this.acknowledged?.path ?? 'file'
    return this.step({ path, text }, async () => {
      const before = this.record
      const next = newWriteMark()
      const description = {
        ...this.place([path]),
        next,
        sizeBytes: text.length,
        baseBytes: this.store.objects.get(path)?.data.length ?? 0,
        baseLimit: 0,
        ranges: [[0, text.length] as const],
        replaces: before?.id ?? null,
      }
      this.record = { id: await this.staging.write(description, [Buffer.from(text)]), next }
      if (before !== null) await this.staging.forget(before.id)
    })
  }

  private rename({ path, text }: State, to: string): Promise<void> {
    return this.step({ path: to, text }, async () => {
      const { record } = this
      await this.staging.flushForgotten()
      if (record !== null) await this.staging.amend(record.id, this.place([path, to]))
      if (this.store.objects.has(path)) await this.store.rename(path, to, 'file')
      if (record !== null) await this.staging.amend(record.id, this.place([to]))
    })
  }

  private async commit({ path, text }: State): Promise<void> {
    const { record } = this
    if (record === null) return
    const expected = this.store.objects.get(path)?.version ?? null
    await this.store.write(path, Buffer.from(text), expected, { mark: record.next })
    this.record = null
    await this.staging.forget(record.id)
  }

  async run(): Promise<void> {
    for (let step = 0; step < STEPS; step++) {
      const { acknowledged: state } = this
      const choice = this.random.below(4)
      if (state === null || choice < 2) await this.close(`contents ${step}`)
      else if (choice === 2) await this.rename(state, `name${step}`)
      else await this.commit(state)
    }
  }
}

/** What a directory has after the calls; of what was not flushed, what `survives` says. */
function directoryAfter(calls: readonly Call[], survives: () => boolean): Map<string, Buffer> {
  const lastSync = calls.findLastIndex(({ kind }) => kind === 'syncDirectory')
  const names = new Map<string, { data: Buffer; isFlushed: boolean }>()
  // A file goes on by its first name in later calls.
  const files = new Map<string, { data: Buffer; isFlushed: boolean }>()
  calls.forEach((call, index) => {
    const isNamed = index < lastSync || survives()
    if (call.kind === 'create') {
      const file = { data: Buffer.alloc(0), isFlushed: false }
      files.set(call.name, file)
      if (isNamed) names.set(call.name, file)
    } else if (call.kind === 'write') {
      const file = files.get(call.name)
      if (file !== undefined) file.data = Buffer.concat([file.data, call.data])
    } else if (call.kind === 'sync') {
      const file = files.get(call.name)
      if (file !== undefined) file.isFlushed = true
    } else if (call.kind === 'rename' && isNamed) {
      // Where its first name was lost, the file has the second one all the same.
      const file = files.get(call.from)
      if (file !== undefined) names.set(call.to, file)
      names.delete(call.from)
    } else if (call.kind === 'remove' && isNamed) {
      names.delete(call.name)
    }
  })
  return new Map(
    [...names].map(([name, { data, isFlushed }]) => [
      name,
      isFlushed || survives() ? data : data.subarray(0, 3),
    ]),
  )
}

async function recovered(
  moment: Moment,
  files: ReadonlyMap<string, Buffer>,
): Promise<{ state: State[]; aside: string[] }> {
  const directory = join(mkdtempSync(join(root, 'crashed-')), 'staging')
  mkdirSync(directory)
  for (const [name, data] of files) writeFileSync(join(directory, name), data)
  const store = new VersionedStore()
  for (const [path, object] of moment.objects) store.objects.set(path, object)
  const logger = createLogger({ level: 'silent' })
  const mount = recoverFirst(store, new Recovery(new Staging(directory), logger))
  for (const state of [moment.acknowledged, moment.coming]) if (state !== null) await mount.stat(state.path)
  await mount.list('')
  return {
    state: [...store.objects].map(([path, { data }]) => ({ path, text: data.toString() })),
    aside: readdirSync(directory),
  }
}

describe('the staging directory, cut off after each of its calls', () => {
  it('gives the file as it was acknowledged, or as the step under way makes it', async (t) => {
    const seed = chooseSeed()
    t.diagnostic(`seed ${seed}`)
    const random = new Random(seed)
    const traced = new Traced(random)
    await traced.run()
    const calls = traced.moments.map(({ call }) => call)
    for (const [index, moment] of traced.moments.entries()) {
      const made = calls.slice(0, index + 1)
      const { acknowledged, coming } = moment
      const isRight = ({ path, text }: State): boolean =>
        [acknowledged, coming].some((state) => state?.path === path) &&
        [acknowledged, coming].some((state) => state?.text === text)
      for (let cut = 0; cut <= POWER_CUTS; cut++) {
        const isKill = cut === 0
        const { state, aside } = await recovered(
          moment,
          directoryAfter(made, () => isKill || (cut > 1 && random.below(2) === 0)),
        )
        const about = `call ${index} (${moment.call.kind}), cut ${cut}: ${JSON.stringify({ acknowledged, coming, state, aside })}`
        if (acknowledged !== null) assert.equal(state.length, 1, about)
        assert.ok(state.every(isRight), about)
        // A record that the end of the power has brought back may be of an older version than the store has by then.
        if (isKill) assert.deepEqual(aside, [], about)
      }
    }
    t.diagnostic(`${traced.moments.length} calls`)
  })
})
