/** The log's stream when its reader reads, stalls, or has gone. */
import assert from 'node:assert/strict'
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { it } from 'node:test'
import { fileURLToPath } from 'node:url'

const MODULE = fileURLToPath(new URL('../../../src/observability/descriptor-stream.js', import.meta.url))
/** A child that hangs is a failure; a slow machine is not. */
const DEADLINE_MS = 30_000

function child(body: string) {
  const script = `import { DescriptorStream } from ${JSON.stringify(MODULE)}; const s = new DescriptorStream(2); ${body}`
  return spawn(process.execPath, ['--input-type=module', '-e', script], {
    stdio: ['pipe', 'ignore', 'pipe'],
    timeout: DEADLINE_MS,
  })
}

it('ends when the reader of the log has gone', async () => {
  const process = child(`
    process.stdin.once('data', () => { s.write('nobody reads this\\n'); s.flushSync(); process.exit(7) })`)
  process.stderr.destroy()
  process.stdin.write('go')
  assert.deepEqual(await once(process, 'exit'), [7, null])
})

it('gives up on a reader that stalls', async () => {
  const process = child(`
    for (let i = 0; i < 1000; i++) s.write('x'.repeat(1000) + '\\n')
    s.flushSync(); process.exit(7)`)
  // Nobody reads, and the pipe holds 64 KiB. The descriptor blocks or not as the parent made it; here it must not hang.
  process.stderr.pause()
  const exited = once(process, 'exit')
  process.stderr.resume()
  assert.deepEqual(await exited, [7, null])
})

it('writes every line in order, flushed or not', async () => {
  const process = child(`
    for (let i = 0; i < 5000; i++) s.write(i + '\\n')
    setImmediate(() => { for (let i = 5000; i < 6000; i++) s.write(i + '\\n'); s.flushSync() })`)
  const chunks: Buffer[] = []
  process.stderr.on('data', (chunk: Buffer) => chunks.push(chunk))
  await once(process, 'close')
  const lines = Buffer.concat(chunks).toString().trim().split('\n').map(Number)
  assert.deepEqual(lines, [...Array(6000).keys()])
})

it('writes each line once, whenever it comes', async () => {
  const lines = 2000
  // Completions of the disk and of the pipe come in one phase of the loop, so that some lines come between the end of a write
  // and the turn in which the next one begins.
  const process = child(`
    const { stat } = await import('node:fs')
    let next = 0
    const more = () => {
      s.write(next + '\\n')
      if (++next < ${lines}) stat('/', more)
      else setTimeout(() => s.flushSync(), 100)
    }
    more()`)
  const chunks: Buffer[] = []
  process.stderr.on('data', (chunk: Buffer) => chunks.push(chunk))
  await once(process, 'close')
  const written = Buffer.concat(chunks).toString().trim().split('\n').map(Number)
  assert.deepEqual(written, [...Array(lines).keys()])
})
