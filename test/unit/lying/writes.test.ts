/**
 * Stores that lie about what they were given: what is acknowledged is there, past all lies; what is told as an error is the old
 * or the new, and nothing third; a file that is moved is never lost.
 */
import assert from 'node:assert/strict'
import { describe, it, type TestContext } from 'node:test'
import { newWriteMark } from '../../../src/backends/write-mark.js'
import { liedTo, outcomeOf, type LiedTo } from '../../lib/lying/lied-to.js'
import { LIES, SLOW_LIES, type Lie } from '../../lib/lying/liar.js'
import { STARTERS, type LyingStore } from '../../lib/lying/stores.js'

const CALLS = 60
const FILES = 3
/** Of an upload in parts: S3's smallest part, and a little more. */
const PART_BYTES = 5 << 20
const UPLOADS = 8
const TYPES = (Object.keys(STARTERS) as LyingStore['type'][]).filter((type) => type !== 'http')

async function filled(t: TestContext, type: LyingStore['type']): Promise<LiedTo> {
  const to = await liedTo(t, type)
  for (let file = 0; file < FILES; file++) to.store.put(`d/f${file}`, Buffer.from(`old contents ${file}`))
  // What a store can do is found out while it tells the truth.
  await to.backend.list('d')
  await to.backend.write('d/probed', Buffer.from('1'), null)
  const { version = '' } = (await to.backend.stat('d/probed')) ?? {}
  await to.backend.write('d/probed', Buffer.from('2'), version)
  await to.backend.rename('d/probed', 'd/moved', 'file')
  await to.backend.removeFile('d/moved')
  return to
}

/** Each call has its lies: one of those that are waited for now and then. */
function lie({ liar, random }: LiedTo, dishonesty: number): void {
  liar.dishonesty = dishonesty
  liar.lies = LIES.filter((each: Lie) => !SLOW_LIES.has(each) || random.chance(0.03))
}

/** Old or new contents are there, and the new ones for sure where they were acknowledged. */
function requireStored(to: LiedTo, path: string, old: Buffer | null, data: Buffer, isTold: boolean): void {
  const there = to.store.get(path)
  const isNew = there?.equals(data) === true
  const isOld = there === null ? old === null : old?.equals(there) === true
  const told = `OVFSD_SEED=${to.seed}: ${path} has ${there === null ? 'nothing' : `${there.length} bytes`}\n${to.liar.recent(20)}`
  assert.ok(
    isNew || (!isTold && isOld),
    isTold ? `acknowledged, and not there: ${told}` : `neither old nor new: ${told}`,
  )
}

describe('writing to stores that lie', { concurrency: true }, () => {
  for (const type of TYPES)
    describe(type, { concurrency: true }, () => {
      it('a write that is acknowledged is there', async (t) => {
        const to = await filled(t, type)
        const { liar, store, backend, random } = to
        for (let call = 0; call < CALLS; call++) {
          const path = `d/f${random.below(FILES + 1)}`
          const old = store.get(path)
          liar.dishonesty = 0
          const version = (await backend.stat(path))?.version ?? null
          // As long as what is there, so that only the contents tell.
          const data = random.bytes(old?.length ?? 17)
          lie(to, 0.4)
          const mark = newWriteMark()
          const outcome = await outcomeOf(to, `write ${path}`, () =>
            backend.write(path, data, version, { mark }),
          )
          requireStored(to, path, old, data, 'value' in outcome)
        }
      })

      it('an upload that is acknowledged is there', async (t) => {
        const to = await filled(t, type)
        const { liar, store, backend, random } = to
        for (let call = 0; call < UPLOADS; call++) {
          const path = `d/f${random.below(2)}`
          const old = store.get(path)
          liar.dishonesty = 0
          const version = (await backend.stat(path))?.version ?? null
          const parts = [random.bytes(PART_BYTES), random.bytes(100)]
          lie(to, 0.2)
          const outcome = await outcomeOf(to, `upload ${path}`, async () => {
            const writer = await backend.createWriter(path, version, { mark: newWriteMark() })
            try {
              for (const part of parts) await writer.write(part)
              return await writer.close()
            } catch (error) {
              await writer.abort()
              throw error
            }
          })
          requireStored(to, path, old, Buffer.concat(parts), 'value' in outcome)
        }
      })

      it('a file that is moved is not lost', async (t) => {
        const to = await filled(t, type)
        const { liar, store, backend, random, seed } = to
        for (let call = 0; call < CALLS; call++) {
          const [from, target] = [`d/from${call}`, `d/f${random.below(FILES)}`]
          // As long as what is replaced.
          const data = random.bytes(store.get(target)?.length ?? 14)
          store.put(from, data)
          liar.dishonesty = 0
          const version = (await backend.stat(from))?.version ?? ''
          lie(to, 0.4)
          const outcome = await outcomeOf(to, `rename ${from} ${target}`, () =>
            backend.rename(from, target, 'file', { version }),
          )
          const places = [store.get(from), store.get(target)].filter((there) => there?.equals(data) === true)
          const told = `OVFSD_SEED=${seed}: ${from} to ${target}: ${JSON.stringify(outcome)}\n${liar.recent(20)}`
          assert.ok(places.length > 0, `lost: ${told}`)
          if ('value' in outcome && type !== 'webdav')
            assert.ok(store.get(target)?.equals(data) === true, `told as moved, and is not: ${told}`)
          assert.ok(store.get(target) !== null, `the target is gone: ${told}`)
        }
      })

      it('a copy that is acknowledged is there', async (t) => {
        const to = await filled(t, type)
        const { liar, store, backend, random } = to
        if (!backend.capabilities.copy || type === 'webdav') return
        for (let call = 0; call < CALLS; call++) {
          const data = random.bytes(14)
          store.put('d/source', data)
          const path = `d/f${random.below(FILES)}`
          const old = store.get(path)
          liar.dishonesty = 0
          const source = (await backend.stat('d/source'))?.version ?? ''
          const version = (await backend.stat(path))?.version ?? null
          lie(to, 0.4)
          const outcome = await outcomeOf(to, `copy to ${path}`, () =>
            backend.copy('d/source', path, version, { sourceVersion: source, mark: newWriteMark() }),
          )
          requireStored(to, path, old, data, 'value' in outcome)
        }
      })

      it('an append that is acknowledged is there', async (t) => {
        const to = await filled(t, type)
        const { liar, store, backend, random } = to
        if (!backend.capabilities.append) return
        for (let call = 0; call < CALLS; call++) {
          const path = 'd/f0'
          store.put(path, random.bytes(20))
          const old = store.get(path) ?? Buffer.alloc(0)
          liar.dishonesty = 0
          const stat = await backend.stat(path)
          const data = random.bytes(5)
          lie(to, 0.2)
          const outcome = await outcomeOf(to, `append to ${path}`, () =>
            backend.append(path, data, { version: stat?.version ?? '', sizeBytes: old.length }),
          )
          requireStored(to, path, old, Buffer.concat([old, data]), 'value' in outcome)
        }
      })

      it('a directory that is made and removed is what was told', async (t) => {
        const to = await filled(t, type)
        const { liar, backend, random, seed } = to
        for (let call = 0; call < CALLS / 2; call++) {
          const path = `d/dir${call}`
          lie(to, 0.3)
          const made = await outcomeOf(to, `mkdir ${path}`, () => backend.createDirectory(path))
          liar.dishonesty = 0
          const told = (): string => `OVFSD_SEED=${seed}: ${path}\n${liar.recent(20)}`
          if ('value' in made)
            assert.equal((await backend.stat(path))?.kind, 'directory', `not made: ${told()}`)
          await backend.createDirectory(path).catch(() => undefined)
          if (random.chance(0.5)) await backend.write(`${path}/kept`, Buffer.from('kept'), null)
          const before = (await backend.list(path)).length
          lie(to, 0.3)
          await outcomeOf(to, `rmdir ${path}`, () => backend.removeDirectory(path))
          liar.dishonesty = 0
          await backend.removeLeftovers?.()
          if (before > 0) assert.equal((await backend.list(path)).length, before, `lost: ${told()}`)
        }
      })
    })
})
