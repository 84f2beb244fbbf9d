import assert from 'node:assert/strict'
import { describe, it } from 'node:test'
import { createLogger, flushLogger, redactValues, setLogLevel } from '../../../src/observability/logger.js'
import { isSecretName, Redactor, secretValues } from '../../../src/observability/redaction.js'

interface Line {
  readonly level: string
  readonly msg: string
  readonly [key: string]: unknown
}

class Lines {
  readonly text: string[] = []
  write(line: string): void {
    this.text.push(line)
  }
  get parsed(): Line[] {
    return this.text.map((line) => JSON.parse(line) as Line)
  }
}

describe('the logger', () => {
  it('writes JSON lines with the level by name', () => {
    const stream = new Lines()
    const logger = createLogger({ level: 'info', stream })
    logger.child({ layer: 'fs', mount: 's3' }).warn({ nodeid: 7 }, 'hello')
    const [line] = stream.parsed
    assert.equal(line?.level, 'warn')
    assert.equal(line.msg, 'hello')
    assert.equal(line['layer'], 'fs')
    assert.equal(line['mount'], 's3')
    assert.equal(line['nodeid'], 7)
    assert.equal(line['pid'], process.pid)
    assert.ok(!Number.isNaN(Date.parse(String(line['time']))))
    assert.ok(stream.text[0]?.endsWith('}\n'))
  })

  it('changes the level of its children and grandchildren too', () => {
    const stream = new Lines()
    const logger = createLogger({ level: 'info', stream })
    const child = logger.child({ layer: 'fs' })
    const grandchild = child.child({ mount: 'a' })
    for (const each of [logger, child, grandchild]) each.debug('hidden')
    setLogLevel(logger, 'debug')
    for (const each of [logger, child, grandchild]) each.debug('shown')
    setLogLevel(logger, 'silent')
    for (const each of [logger, child, grandchild]) each.fatal('hidden')
    assert.deepEqual(
      stream.parsed.map(({ msg }) => msg),
      ['shown', 'shown', 'shown'],
    )
  })

  it('hides secrets in messages, objects, errors, bindings and keys of options', () => {
    const stream = new Lines()
    const secret = 'pa"ss\\wörd/+='
    const logger = createLogger({ level: 'trace', stream, secrets: [secret] })
    logger.info(`before ${secret} after`)
    logger.info({ deep: [{ value: secret }] }, 'x')
    logger.error({ err: new Error(`url?delegation=${encodeURIComponent(secret)}&x`) }, 'x')
    logger.child({ where: secret }).info('x')
    logger.info({ mount: { options: { bucket: 'b', session_token: 'never registered' } } }, 'x')
    logger.info({ mounts: [{ options: { sas_token: 'never registered' } }] }, 'x')
    const text = stream.text.join('')
    for (const form of [secret, JSON.stringify(secret).slice(1, -1), encodeURIComponent(secret), 'never']) {
      assert.ok(!text.includes(form), text)
    }
    assert.equal(stream.parsed[0]?.msg, 'before [redacted] after')
    assert.deepEqual(stream.parsed[4]?.['mount'], {
      options: { bucket: 'b', session_token: '[redacted]' },
    })
  })

  it('stays JSON whatever the secret', () => {
    for (const secret of ['level', '":"', '{"level', '12', '3', 'a', String(process.pid), 'msg":', '\\']) {
      const stream = new Lines()
      const logger = createLogger({ level: 'info', stream, secrets: [secret] })
      logger.info({ secret, list: [secret], number: Number(secret) }, 'message')
      const [line] = stream.parsed
      assert.equal(line?.['secret'], '[redacted]', secret)
      assert.deepEqual(line['list'], ['[redacted]'], secret)
      assert.ok(stream.text[0]?.endsWith('}\n'))
    }
  })

  it('hides what it learns later', () => {
    const stream = new Lines()
    const logger = createLogger({ level: 'info', stream })
    redactValues(logger, ['new-secret'])
    logger.child({ layer: 'fs' }).info('new-secret')
    assert.equal(stream.parsed[0]?.msg, '[redacted]')
  })

  it('survives odd values', () => {
    const stream = new Lines()
    const logger = createLogger({ level: 'info', stream })
    const cycle: Record<string, unknown> = {}
    cycle['self'] = cycle
    logger.info({ cycle, big: 1n, none: undefined, nothing: null, options: 'text' }, 'odd')
    assert.equal(stream.parsed[0]?.msg, 'odd')
    flushLogger(logger)
  })
})

describe('redaction', () => {
  it('knows secret names', () => {
    for (const name of [
      'secret_access_key access_key_id session_token token password delegation sas_token account_key',
      'credential credential_path application_key connection_string server_side_encryption_customer_key Authorization',
    ]
      .join(' ')
      .split(' ')) {
      assert.ok(isSecretName(name), name)
    }
    for (const name of ['bucket', 'endpoint', 'root', 'region', 'name_node', 'user', 'container']) {
      assert.ok(!isSecretName(name), name)
    }
  })

  it('takes values of secret names and passwords of URLs, and no switches', () => {
    assert.deepEqual(
      secretValues({
        bucket: 'b',
        token: 't',
        password: '',
        server_side_encryption_bucket_key_enabled: 'true',
        endpoint: 'https://user:p%40ss@host:80/x',
        root: '/a:b@c',
      }),
      ['t', 'p%40ss'],
    )
  })

  it('replaces the longer of two secrets first', () => {
    const redactor = new Redactor()
    redactor.add(['abcd'])
    redactor.add(['abcdef', ''])
    assert.equal(redactor.text('xabcdefx abcd'), 'x[redacted]x [redacted]')
  })

  it('leaves text alone in which a very short secret occurs', () => {
    const redactor = new Redactor()
    redactor.add(['key'])
    assert.equal(redactor.text('the monkey'), 'the monkey')
    assert.equal(redactor.text('key'), '[redacted]')
  })
})
