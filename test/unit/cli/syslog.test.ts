/** The log as messages to a syslog daemon, here one in Python: Node has no Unix datagram sockets. */
import assert from 'node:assert/strict'
import { spawn, type ChildProcess } from 'node:child_process'
import { once } from 'node:events'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { it, type TestContext } from 'node:test'
import { SyslogStream } from '../../../src/observability/syslog-stream.js'
import { loadNative } from '../../../src/virtio/native.js'

/** Prints "ready", then each message as a line. */
const DAEMON = `
import os, socket, sys
daemon = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
daemon.bind(sys.argv[1])
print('ready', flush=True)
while True: print(daemon.recv(65536).decode(), flush=True)
`

class SyslogDaemon {
  readonly #child: ChildProcess
  readonly #lines: AsyncIterator<string>

  constructor(test: TestContext, path: string) {
    const child = spawn('python3', ['-c', DAEMON, path], { stdio: ['ignore', 'pipe', 'inherit'] })
    this.#child = child
    this.#lines = createInterface({ input: child.stdout })[Symbol.asyncIterator]()
    test.after(() => child.kill('SIGKILL'))
  }

  async line(): Promise<string> {
    return ((await this.#lines.next()) as { value: string }).value
  }

  async end(): Promise<void> {
    this.#child.kill('SIGKILL')
    await once(this.#child, 'exit')
  }
}

it('writes messages to syslog, and to the one that comes after it', async (test) => {
  const directory = mkdtempSync(join(tmpdir(), 'ovfsd-syslog-'))
  test.after(() => {
    rmSync(directory, { recursive: true })
  })
  const path = join(directory, 'log')
  const native = loadNative()
  const connect = (): number => native.connectDatagram(path)
  assert.throws(() => new SyslogStream(connect), { code: 'ENOENT' })

  const first = new SyslogDaemon(test, path)
  assert.equal(await first.line(), 'ready')
  const stream = new SyslogStream(connect)
  stream.write('{"level":"warn","msg":"one"}\n')
  assert.equal(await first.line(), `<12>ovfsd[${process.pid}]: {"level":"warn","msg":"one"}`)
  stream.write(`${'x'.repeat(100_000)}\n`)
  assert.equal((await first.line()).length, 8000)

  await first.end()
  stream.write('{"level":"info","msg":"nobody hears this"}\n')
  rmSync(path)
  const second = new SyslogDaemon(test, path)
  assert.equal(await second.line(), 'ready')
  stream.write('{"level":"info","msg":"two"}\n')
  assert.equal(await second.line(), `<14>ovfsd[${process.pid}]: {"level":"info","msg":"two"}`)
})
