import assert from 'node:assert/strict'
import { describe, it } from 'node:test'
import { StorageError } from '../../../src/backends/storage-error.js'
import { CircuitOpenError } from '../../../src/backends/layers/circuit.js'
import { createLogger, flushLogger, type Logger } from '../../../src/observability/logger.js'

interface Line {
  readonly msg: string
  readonly err?: { readonly message: string; readonly stack?: string }
  readonly repeated?: number
  readonly errno?: string
}

function logTo(lines: Line[]): Logger {
  return createLogger({
    level: 'info',
    stream: { write: (line: string) => void lines.push(JSON.parse(line) as Line) },
  })
}

const AWAY = new StorageError('EIO', 'connect ECONNREFUSED 127.0.0.1:1', {
  unanswered: true,
  retryable: true,
})

describe('the log while something fails over and over', () => {
  it('has the first line and then how many there were', () => {
    const lines: Line[] = []
    const logger = logTo(lines)
    for (let i = 0; i < 1000; i++) logger.warn({ err: AWAY, path: `f${i}` }, 'a file could not be stored')
    assert.equal(lines.length, 1)
    flushLogger(logger)
    assert.deepEqual(
      lines.map(({ msg, repeated, errno }) => [msg, repeated, errno]),
      [
        ['a file could not be stored', undefined, undefined],
        ['a file could not be stored', 999, 'EIO'],
      ],
    )
  })

  it('has few lines of whatever a guest can have told without end, and how many there were', () => {
    const lines: Line[] = []
    const logger = logTo(lines)
    for (let i = 0; i < 10_000; i++) {
      logger.info({ minor: 38 }, 'guest mounted')
      logger.error({ major: 7, minor: 5 }, 'too old')
      logger.error({ opcode: 3, err: new TypeError('a bug') }, 'a defect')
      logger.warn({ mount: 'a', at: i }, 'of a mount')
    }
    logger.warn({ mount: 'b' }, 'of a mount')
    const written = lines.length
    assert.ok(written <= 4 * 70 + 1, `${written} lines`)
    assert.ok(lines.some((line) => (line as { mount?: string }).mount === 'b'))
    flushLogger(logger)
    const repeated = lines.slice(written).reduce((sum, line) => sum + (line.repeated ?? 0), 0)
    assert.equal(written + repeated, 40_001)
  })

  it('has few lines of kinds without number', () => {
    const lines: Line[] = []
    const logger = logTo(lines)
    for (let i = 0; i < 10_000; i++) logger.error({}, `refused: ${i}`)
    assert.ok(lines.length < 1100, `${lines.length} lines`)
  })

  it('keeps apart what differs, and has every file that was lost', () => {
    const lines: Line[] = []
    const logger = logTo(lines)
    const full = new StorageError('ENOSPC', 'full')
    for (let i = 0; i < 3; i++) {
      logger.warn({ mount: 'a', err: AWAY }, 'failed')
      logger.warn({ mount: 'b', err: AWAY }, 'failed')
      logger.warn({ mount: 'a', err: full }, 'failed')
      logger.error({ mount: 'a', err: full, lost: true }, 'lost')
      logger.error({ mount: 'a', err: new Error('a bug') }, 'a defect')
    }
    const count = (message: string): number => lines.filter(({ msg }) => msg === message).length
    assert.deepEqual([count('failed'), count('lost'), count('a defect')], [3, 3, 3])
  })

  it('has no stack of what is expected, and says nothing twice', () => {
    const lines: Line[] = []
    const logger = logTo(lines)
    logger.error({ err: new CircuitOpenError(AWAY) }, 'refused')
    logger.error({ err: new StorageError('EIO', 'PUT: 503', { cause: new Error('PUT: 503') }) }, 'failed')
    logger.error({ err: new Error('outer', { cause: new Error('inner') }) }, 'a defect')
    assert.equal(lines[0]?.err?.stack, undefined)
    assert.equal(lines[0]?.err?.message.split('ECONNREFUSED').length, 2)
    assert.equal(lines[1]?.err?.message, 'PUT: 503')
    assert.match(lines[2]?.err?.stack ?? '', /inner/)
  })
})
