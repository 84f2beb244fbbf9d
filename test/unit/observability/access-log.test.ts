import assert from 'node:assert/strict'
import { execFileSync } from 'node:child_process'
import {
  closeSync,
  constants,
  mkdtempSync,
  openSync,
  readFileSync,
  readSync,
  renameSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { describe, it, type TestContext } from 'node:test'
import { parseEntry } from '../../../src/observability/access-line.js'
import { AccessLog } from '../../../src/observability/access-log.js'
import { createLogger } from '../../../src/observability/logger.js'
import type { RequestRecord } from '../../../src/observability/request-record.js'

/** What may wait for the disk, and something for what a pipe holds and a write has taken. */
const PENDING_BYTES_MAX = 8 << 20
const PIPE_BYTES_MAX = 1 << 20
const LONG_PATH = `/${'p'.repeat(4000)}`

function record(path: string): RequestRecord {
  return {
    ...{ id: 1, mount: 'm', operation: 'lookup', uid: 0, gid: 0, pid: 1, nodeid: 1, fh: null, path },
    ...{ newPath: null, sizeBytes: null, offset: null, startMs: performance.now(), errno: 0, bytes: 0 },
    ...{ durationUs: 1, openedFh: null },
  }
}

interface Logged {
  readonly msg: string
  readonly dropped: number
  readonly err?: { readonly code?: string }
}

function logger() {
  const lines: Logged[] = []
  const stream = { write: (line: string) => lines.push(JSON.parse(line) as Logged) }
  return { lines, logger: createLogger({ level: 'info', stream }) }
}

function place(test: TestContext, name = 'access.log'): string {
  const directory = mkdtempSync(join(tmpdir(), 'ovfsd-access-log-'))
  test.after(() => {
    rmSync(directory, { recursive: true })
  })
  return join(directory, name)
}

function paths(text: string): (string | undefined)[] {
  return text
    .split('\n')
    .filter((line) => line !== '')
    .map((line) => parseEntry(line)?.path)
}

/** Lines of more bytes than may wait. Returns how many. */
function overflow(log: AccessLog): number {
  const lines = Math.ceil((2 * PENDING_BYTES_MAX) / LONG_PATH.length)
  for (let i = 0; i < lines; i++) log.onReply(record(LONG_PATH))
  return lines
}

describe('the access log', () => {
  it('is appended to, and nobody else may read it', async (test) => {
    const path = place(test)
    const first = await AccessLog.open(path, logger().logger)
    first.onReply(record('/one'))
    await first.close()
    const second = await AccessLog.open(path, logger().logger)
    second.onReply(record('/two'))
    await second.close()
    assert.deepEqual(paths(readFileSync(path, 'utf8')), ['/one', '/two'])
    assert.equal(statSync(path).mode & 0o777, 0o600)
  })

  it('goes on in a new file when it was moved away, and loses nothing', async (test) => {
    const path = place(test)
    const log = await AccessLog.open(path, logger().logger)
    log.onReply(record('/before'))
    renameSync(path, `${path}.1`)
    log.onReply(record('/moved'))
    const reopened = log.reopen()
    log.onReply(record('/meanwhile'))
    await reopened
    log.onReply(record('/after'))
    await log.close()
    const old = paths(readFileSync(`${path}.1`, 'utf8'))
    const young = paths(readFileSync(path, 'utf8'))
    assert.deepEqual(old.slice(0, 2), ['/before', '/moved'])
    assert.deepEqual([...old, ...young], ['/before', '/moved', '/meanwhile', '/after'])
    assert.equal(young.at(-1), '/after')
  })

  it('stays with the file that it has where there is no way to open another', async (test) => {
    const path = place(test)
    const log = await AccessLog.open(path, logger().logger)
    renameSync(path, `${path}.1`)
    execFileSync('mkdir', [path])
    await assert.rejects(log.reopen(), { code: 'EISDIR' })
    log.onReply(record('/still'))
    await log.close()
    assert.deepEqual(paths(readFileSync(`${path}.1`, 'utf8')), ['/still'])
  })

  it('says at once that nobody reads a FIFO', async (test) => {
    const path = place(test, 'fifo')
    execFileSync('mkfifo', [path])
    await assert.rejects(AccessLog.open(path, logger().logger), { code: 'ENXIO' })
  })

  it('drops lines when a FIFO is not read, in whole lines, and ends all the same', async (test) => {
    const path = place(test, 'fifo')
    execFileSync('mkfifo', [path])
    const reader = openSync(path, constants.O_RDONLY | constants.O_NONBLOCK)
    const { lines, logger: log } = logger()
    const accessLog = await AccessLog.open(path, log)
    const written = overflow(accessLog)
    await accessLog.close()
    const dropped = lines.reduce((sum, line) => sum + line.dropped, 0)
    const keptBytes = (written - dropped) * LONG_PATH.length
    assert.ok(dropped > 0 && keptBytes <= PENDING_BYTES_MAX + PIPE_BYTES_MAX, `${keptBytes} bytes were kept`)
    const buffer = Buffer.alloc(PIPE_BYTES_MAX)
    const read = buffer.toString('utf8', 0, readSync(reader, buffer))
    closeSync(reader)
    assert.equal(parseEntry(read.slice(0, read.indexOf('\n')))?.path, LONG_PATH)
  })

  it('drops lines when the device is full, and says so', async () => {
    const { lines, logger: log } = logger()
    const accessLog = await AccessLog.open('/dev/full', log)
    const written = overflow(accessLog)
    await accessLog.close()
    assert.ok(
      lines.some(
        ({ err, msg }) => err?.code === 'ENOSPC' && msg.startsWith('the access log cannot be written'),
      ),
      JSON.stringify(lines),
    )
    const dropped = lines.reduce((sum, line) => sum + line.dropped, 0)
    assert.ok(dropped > 0 && dropped < written, `${dropped} of ${written}`)
    // Not one for each line.
    assert.ok(lines.length <= 2, JSON.stringify(lines))
  })

  it('goes on when a device that was full has room again', (test) => {
    const path = place(test)
    // A limit on the size of files says EFBIG as a full device says ENOSPC, in a process of its own.
    const script = `
      import { AccessLog } from ${JSON.stringify(new URL('../../../src/observability/access-log.js', import.meta.url).href)}
      import { execFileSync } from 'node:child_process'
      process.on('SIGXFSZ', () => undefined)
      const limit = (bytes) => execFileSync('prlimit', ['--pid', String(process.pid), '--fsize=' + bytes + ':unlimited'])
      const alive = setInterval(() => undefined, 1000)
      let told
      const refused = new Promise((resolve) => { told = resolve })
      const log = await AccessLog.open(${JSON.stringify(path)}, { warn: told })
      limit(0)
      const record = (path) => ({ mount: 'm', operation: 'lookup', uid: 0, gid: 0, pid: 1, fh: null, path, newPath: null,
        sizeBytes: null, offset: null, startMs: performance.now(), errno: 0, bytes: 0, durationUs: 1, openedFh: null })
      log.onReply(record('/kept'))
      await refused
      limit('unlimited')
      log.onReply(record('/later'))
      await log.close()
      clearInterval(alive)
    `
    execFileSync(process.execPath, ['--input-type=module', '-e', script])
    assert.deepEqual(paths(readFileSync(path, 'utf8')), ['/kept', '/later'])
  })
})

it('no log is written through a symbolic link', async (t) => {
  const directory = mkdtempSync(join(tmpdir(), 'ovfsd-access-log-'))
  t.after(() => {
    rmSync(directory, { recursive: true })
  })
  const [other, path] = [join(directory, 'other'), join(directory, 'access.log')]
  writeFileSync(other, 'of somebody else')
  symlinkSync(other, path)
  await assert.rejects(AccessLog.open(path, createLogger({ level: 'silent' })), { code: 'ELOOP' })
  assert.equal(readFileSync(other, 'utf8'), 'of somebody else')
})
