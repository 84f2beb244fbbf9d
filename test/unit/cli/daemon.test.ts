/** The daemon's life, in processes of their own whose server is a fake (fake-daemon.ts). */
import assert from 'node:assert/strict'
import { chmodSync } from 'node:fs'
import { describe, it, type TestContext } from 'node:test'
import { FAKE_DAEMON, Program, temporaryFile, type Outcome } from '../../lib/cli/process.js'

const SECRET = 'hunter2/hunter2+"x'
const LISTENING = 'Waiting for vhost-user socket connection'

function daemon(test: TestContext, behaviour: string, settings = ''): Program {
  const file = temporaryFile(
    test,
    'ovfsd.toml',
    `[ovfsd_settings]
socket_path = "/tmp/s"
${settings}
[profiles.data]
type = "s3"
mount_point = "data"
bucket = "b"
secret_access_key = ${JSON.stringify(SECRET)}
`,
  )
  if (settings.includes('# open')) chmodSync(file, 0o644)
  return new Program(FAKE_DAEMON, [file], { FAKE_SERVER: behaviour })
}

/** The log as objects; lines that are not JSON as { msg }. */
function log({ stderr }: Outcome): {
  level?: string
  msg: string
  cause?: string
  err?: { message: string }
  lostFiles?: number
  conflicts?: number
}[] {
  return stderr
    .trimEnd()
    .split('\n')
    .map((line) => (line.startsWith('{') ? (JSON.parse(line) as { msg: string }) : { msg: line }))
}

function messages(outcome: Outcome): string[] {
  return log(outcome).map(({ msg }) => msg)
}

function assertNoSecret(outcome: Outcome): void {
  const forms = [SECRET, JSON.stringify(SECRET).slice(1, -1), encodeURIComponent(SECRET)]
  for (const form of forms) assert.ok(!outcome.stderr.includes(form), outcome.stderr)
  assert.equal(outcome.stdout, '')
}

describe('the daemon', () => {
  for (const signal of ['SIGTERM', 'SIGINT'] as const) {
    it(`drains and exits with 0 on ${signal}`, async (test) => {
      const program = daemon(test, 'drain')
      await program.says('fake server is running')
      program.kill(signal)
      const outcome = await program.outcome()
      assert.equal(outcome.code, 0)
      assert.deepEqual(messages(outcome), [
        'mount ready',
        LISTENING,
        'fake server is running',
        'stopping: writing back what is dirty',
        'stopped: everything is written back',
      ])
      assert.equal(log(outcome)[3]?.cause, signal)
    })
  }

  it('loads the configuration again on SIGHUP, and stays', async (test) => {
    const program = daemon(test, 'drain')
    await program.says('fake server is running')
    program.kill('SIGHUP')
    await program.says('configuration reloaded')
    program.kill('SIGTERM')
    const outcome = await program.outcome()
    assert.equal(outcome.code, 0)
    assert.equal(log(outcome).find(({ msg }) => msg === 'configuration reloaded')?.cause, 'SIGHUP')
  })

  it('says that it waits for a connection, whatever the log level', async (test) => {
    const program = daemon(test, 'drain', 'log_level = "silent"')
    await program.says(`${LISTENING}\n`)
    program.kill('SIGTERM')
    const outcome = await program.outcome()
    assert.equal(outcome.code, 0)
    assert.equal(outcome.stderr, `${LISTENING}\n`)
  })

  it('exits at once on a second signal, and says what is lost', async (test) => {
    const program = daemon(test, 'hang')
    await program.says('fake server is running')
    program.kill('SIGTERM')
    await program.says('stopping')
    program.kill('SIGINT')
    const outcome = await program.outcome()
    assert.equal(outcome.code, 1)
    assert.equal(
      messages(outcome).at(-1),
      'exiting at once: not yet written back and lost: m: 4.0 KiB of 2 files ("a", "b/c"); 1 files are kept in cache_dir',
    )
    assert.equal(log(outcome).at(-1)?.cause, 'a second signal, SIGINT')
  })

  it('gives up after shutdown_timeout', async (test) => {
    const program = daemon(test, 'hang', 'shutdown_timeout = "1s"')
    await program.says('fake server is running')
    program.kill('SIGTERM')
    const outcome = await program.outcome()
    assert.equal(outcome.code, 1)
    assert.equal(log(outcome).at(-1)?.cause, 'not done within 1000 ms (shutdown_timeout)')
  })

  it('exits with a code of its own when data was lost since the start', async (test) => {
    const program = daemon(test, 'lose')
    await program.says('fake server is running')
    program.kill('SIGTERM')
    const outcome = await program.outcome()
    assert.equal(outcome.code, 3)
    const last = log(outcome).at(-1)
    assert.deepEqual([last?.lostFiles, last?.conflicts], [2, 1])
    assert.ok(!messages(outcome).includes('stopped: everything is written back'))
  })

  it('says so when what the stores did not take is kept', async (test) => {
    const program = daemon(test, 'keep')
    await program.says('fake server is running')
    program.kill('SIGTERM')
    const outcome = await program.outcome()
    assert.equal(outcome.code, 0)
    assert.equal(messages(outcome).at(-1), 'stopped: what the stores did not take is kept in cache_dir')
  })

  it('exits with 1 when closing fails', async (test) => {
    const program = daemon(test, 'fail-close')
    await program.says('fake server is running')
    program.kill('SIGTERM')
    const outcome = await program.outcome()
    assert.equal(outcome.code, 1)
    assert.equal(log(outcome).at(-2)?.err?.message, 'PUT failed with [redacted]')
    assertNoSecret(outcome)
  })

  it('explains a failed start in one line and exits with 1', async (test) => {
    const outcome = await daemon(test, 'fail-start').outcome()
    assert.equal(outcome.code, 1)
    assert.equal(outcome.stderr, "ovfsd: can't start: bind: no such directory with [redacted]\n")
    assertNoSecret(outcome)
  })

  for (const [behaviour, what, message] of [
    ['throw', 'uncaught exception', 'a bug'],
    ['reject', 'unhandled rejection', 'a forgotten promise'],
  ] as const) {
    it(`logs an ${what}, drains and exits with 70`, async (test) => {
      const outcome = await daemon(test, behaviour).outcome()
      assert.equal(outcome.code, 70)
      const fatal = log(outcome).find(({ level }) => level === 'fatal')
      assert.equal(fatal?.msg, what)
      assert.equal(fatal.err?.message, message)
      assert.equal(messages(outcome).at(-1), 'stopped: everything is written back')
    })
  }

  it('exits with 70 after a fault while draining, having drained', async (test) => {
    const program = daemon(test, 'throw-late')
    await program.says('fake server is running')
    program.kill('SIGTERM')
    const outcome = await program.outcome()
    assert.equal(outcome.code, 70)
    assert.ok(messages(outcome).includes('uncaught exception'))
    assert.equal(messages(outcome).at(-1), 'stopped: everything is written back')
  })

  it('exits with 0 when the front-end goes, if it is not to wait', async (test) => {
    const outcome = await daemon(test, 'front-end', 'wait_for_reconnect = false').outcome()
    assert.equal(outcome.code, 0)
    assert.ok(log(outcome).some(({ cause }) => cause === 'the front-end has gone'))
    assert.equal(messages(outcome).at(-1), 'stopped: everything is written back')
  })

  it('stays when the front-end goes, if it is to wait', async (test) => {
    const program = daemon(test, 'front-end')
    await program.says('fake server is running')
    program.kill('SIGTERM')
    const outcome = await program.outcome()
    assert.equal(log(outcome).at(-2)?.cause, 'SIGTERM')
  })

  it('never logs a secret', async (test) => {
    const program = daemon(test, 'log-secret', 'log_level = "trace"')
    await program.says('fake server is running')
    program.kill('SIGTERM')
    const outcome = await program.outcome()
    assert.equal(outcome.code, 0)
    assert.ok(outcome.stderr.includes('GET /?signature=[redacted]'), outcome.stderr)
    assertNoSecret(outcome)
  })

  it('warns of credentials that others may read', async (test) => {
    const program = daemon(test, 'drain', '# open')
    await program.says('chmod 600')
    program.kill('SIGTERM')
    assert.equal((await program.outcome()).code, 0)
  })
})
