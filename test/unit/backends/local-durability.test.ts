/** What a host directory says is stored is durable, and what a kill interrupts is the old file or the new one. */
import assert from 'node:assert/strict'
import { spawn, spawnSync } from 'node:child_process'
import { once } from 'node:events'
import { linkSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, before, describe, it } from 'node:test'

const BACKEND = new URL('../../../src/backends/create-backend.js', import.meta.url).href
const PRELUDE = `
const { createBackend } = await import(${JSON.stringify(BACKEND)})
const backend = createBackend({ type: 'fs', options: { root: process.env.ROOT }, timeoutMs: 30000 })
const version = async (path) => (await backend.stat(path)).version
`
const CALLS = 'fsync,fdatasync,renameat,renameat2,linkat,unlinkat,mkdirat,write,copy_file_range'
const hasStrace = spawnSync('strace', ['-V']).status === 0

/** The calls on files of the root, in their order, as "call path". */
function trace(root: string, program: string): string[] {
  const out = join(mkdtempSync(join(tmpdir(), 'ovfsd-trace-')), 'trace')
  const node = [process.execPath, '--input-type=module', '-e', PRELUDE + program]
  const { status, stderr } = spawnSync('strace', ['-f', '-y', '-o', out, '-e', `trace=${CALLS}`, ...node], {
    env: { ...process.env, ROOT: root },
    encoding: 'utf8',
  })
  assert.equal(status, 0, stderr)
  const calls: string[] = []
  for (const line of readFileSync(out, 'utf8').split('\n')) {
    const [, call, place] = /^\d+ +(\w+)\(\d+<([^>]+)>/.exec(line) ?? []
    if (call === undefined || place === undefined || !place.startsWith(root)) continue
    const path = place.slice(root.length).replace(/upload-.*/, 'upload')
    const target = /"([^"]+)"(?:, RENAME_\w+|, 0)?\)/.exec(line)?.[1] ?? ''
    calls.push(
      `${call.replace(/^renameat2?$/, 'rename').replace('fdatasync', 'fsync')} ${path}${target === '' || call === 'write' ? '' : ` ${target}`}`,
    )
  }
  return calls
}

/** Position of the first such call after `from`; it must be there. */
function find(calls: readonly string[], pattern: RegExp, from = -1): number {
  const at = calls.findIndex((call, index) => index > from && pattern.test(call))
  assert.ok(at >= 0, `no ${String(pattern)} after ${from} in\n${calls.join('\n')}`)
  return at
}

describe('what a host directory stores', { skip: !hasStrace && 'there is no strace' }, () => {
  let root = ''
  before(() => {
    root = mkdtempSync(join(tmpdir(), 'ovfsd-local-durability-'))
    mkdirSync(join(root, 'd'))
    writeFileSync(join(root, 'source'), Buffer.alloc(1 << 20, 1))
  })
  after(() => {
    rmSync(root, { recursive: true, force: true })
  })

  const isDurable = (calls: readonly string[]): void => {
    const contents = find(calls, /^fsync \/\.ovfsd\/upload$/)
    const name = find(calls, /^rename /, contents)
    find(calls, /^fsync \/d$/, name)
  }

  it('is durable when it is new, replaced, uploaded or copied', () => {
    isDurable(trace(root, `await backend.write('d/file', Buffer.from('x'), null)`))
    isDurable(trace(root, `await backend.write('d/file', Buffer.from('y'), await version('d/file'))`))
    isDurable(
      trace(
        root,
        `const writer = await backend.createWriter('d/large', null)
        await writer.write(Buffer.alloc(1 << 20)); await writer.close()`,
      ),
    )
    isDurable(trace(root, `await backend.copy('source', 'd/copy', null)`))
  })

  it('is durable when it is appended', () => {
    const calls = trace(
      root,
      `await backend.append('source', Buffer.from('x'), await backend.stat('source'))`,
    )
    find(calls, /^fsync \/source$/, find(calls, /^write \/source$/))
  })

  it('is durable below directories that were made or moved', () => {
    const calls = trace(
      root,
      `await backend.createDirectory('new'); await backend.createDirectory('new/deep')
      await backend.rename('new', 'd/moved', 'directory')
      await backend.write('d/moved/deep/file', Buffer.from('x'), null)`,
    )
    const name = find(calls, /^rename \/\.ovfsd/)
    for (const pattern of [/^fsync \/d\/moved\/deep$/, /^fsync \/d\/moved$/, /^fsync \/d$/])
      find(calls, pattern, name)
  })

  it('is durable by its present name when it is changed where it is', () => {
    const appended = trace(
      root,
      `await backend.write('d/first', Buffer.from('x'), null); await backend.rename('d/first', 'd/second', 'file')
      await backend.append('d/second', Buffer.from('y'), await backend.stat('d/second'))`,
    )
    find(appended, /^fsync \/d$/, find(appended, /^rename \/d second$/))
    linkSync(join(root, 'd/second'), join(root, 'd/third'))
    const overwritten = trace(
      root,
      `await backend.rename('d/third', 'd/fourth', 'file')
      await backend.write('d/fourth', Buffer.from('z'), await version('d/fourth'))`,
    )
    find(overwritten, /^fsync \/d$/, find(overwritten, /^rename \/d /))
  })

  it('has its names durable when that is asked for', () => {
    const calls = trace(
      root,
      `await backend.write('d/old', Buffer.from('x'), null)
      await backend.rename('d/old', 'd/renamed', 'file'); await backend.syncNames('d')
      await backend.removeFile('d/renamed'); await backend.syncNames()`,
    )
    const renamed = find(calls, /^rename \/d /)
    const removed = find(calls, /^unlinkat \/d /, find(calls, /^fsync \/d$/, renamed))
    find(calls, /^fsync \/d$/, removed)
  })

  it('is whole beside a file with several names before that is overwritten', () => {
    writeFileSync(join(root, 'd/one'), 'old')
    linkSync(join(root, 'd/one'), join(root, 'd/two'))
    const calls = trace(root, `await backend.write('d/one', Buffer.from('new'), await version('d/one'))`)
    const inItsDirectory = find(calls, /^fsync \/\.ovfsd$/, find(calls, /^fsync \/\.ovfsd\/upload$/))
    const beside = find(calls, /^fsync $/, inItsDirectory)
    const overwritten = find(calls, /^copy_file_range \/\.ovfsd\/upload$/, beside)
    find(calls, /^unlinkat \/\.ovfsd /, find(calls, /^fsync \/d\/one$/, overwritten))
  })
})

describe('a daemon that is killed while it stores', () => {
  const KILLS = 12
  const SIZE_BYTES = 300_000
  /** Stores "a", "b", "c"... over and over, each a file full of its letter. */
  const program = `${PRELUDE}
  process.stdout.write('ready')
  for (let round = 0; ; round++) {
    const data = Buffer.alloc(${SIZE_BYTES} + (round % 7), 97 + (round % 26))
    await backend.write('file', data, await version('file'))
  }`

  for (const hasTwoNames of [false, true]) {
    it(`leaves the old file or the new one${hasTwoNames ? ', or the new one beside a half written one with two names' : ''}`, async () => {
      const root = mkdtempSync(join(tmpdir(), 'ovfsd-local-kill-'))
      const at = (path: string): string => join(root, path)
      const isWhole = (data: Buffer): boolean =>
        data.byteLength >= SIZE_BYTES && data.every((byte) => byte === data[0])
      writeFileSync(at('file'), Buffer.alloc(SIZE_BYTES, 'a'))
      if (hasTwoNames) linkSync(at('file'), at('other'))
      for (let kill = 0; kill < KILLS; kill++) {
        const child = spawn(process.execPath, ['--input-type=module', '-e', program], {
          env: { ...process.env, ROOT: root },
          stdio: ['ignore', 'pipe', 'inherit'],
        })
        await once(child.stdout, 'data')
        // Where the child is by then differs from one time to the next: that is the point.
        await new Promise((resolve) => setTimeout(resolve, kill * 3))
        child.kill('SIGKILL')
        await once(child, 'exit')
        const uploads = readdirSync(root).includes('.ovfsd') ? readdirSync(at('.ovfsd')) : []
        const rescued = uploads.some((name) => isWhole(readFileSync(at(`.ovfsd/${name}`))))
        assert.ok(isWhole(readFileSync(at('file'))) || (hasTwoNames && rescued), `kill ${kill}`)
        for (const name of uploads) rmSync(at(`.ovfsd/${name}`))
        writeFileSync(at('file'), Buffer.alloc(SIZE_BYTES, 'a'))
      }
      if (hasTwoNames) assert.deepEqual(readFileSync(at('file')), readFileSync(at('other')))
      rmSync(root, { recursive: true })
    })
  }
})
