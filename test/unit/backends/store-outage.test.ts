import assert from 'node:assert/strict'
import { describe, it, mock } from 'node:test'
import { setImmediate as nextTurn } from 'node:timers/promises'
import { Circuit, CircuitOpenError, GuardedBackend } from '../../../src/backends/layers/circuit.js'
import { EmptyBackend } from '../../../src/backends/local/empty-backend.js'
import { StorageError } from '../../../src/backends/storage-error.js'
import { createLogger } from '../../../src/observability/logger.js'
import { StoreOutage } from '../../../src/server/store-outage.js'
import { withMembers } from '../../support/backends.js'

const MINUTE_MS = 60_000
/** Longer than the calls that are to be refused take. */
const PAUSE_MS = 500

interface Line {
  readonly msg: string
  readonly refused?: Readonly<Record<string, number>>
}

describe('a store that is away', () => {
  it('has a line when it goes, one a minute with what was refused, and one when it is back', async (t) => {
    const lines: Line[] = []
    const logger = createLogger({
      level: 'info',
      stream: { write: (line: string) => void lines.push(JSON.parse(line) as Line) },
    })
    mock.timers.enable({ apis: ['setInterval'] })
    t.after(() => {
      mock.timers.reset()
    })
    const outage = new StoreOutage(logger, 'm')
    let isAway = true
    const store = withMembers(new EmptyBackend(), {
      stat: () =>
        isAway
          ? Promise.reject(new StorageError('EIO', 'no answer', { unanswered: true, retryable: true }))
          : Promise.resolve(null),
    })
    const circuit = new Circuit({ failures: 2, pauseMs: PAUSE_MS }, (error) => {
      if (error === null) outage.end()
      else outage.begin(error)
    })
    const backend = new GuardedBackend(store, circuit, (method) => {
      outage.countRefusal(method)
    })
    for (let i = 0; i < 2; i++) await assert.rejects(backend.stat('f'), /^StorageError: no answer$/)
    const refused = [backend.list('d'), backend.list('d'), backend.removeFile('f')]
    for (const call of refused) await assert.rejects(call, CircuitOpenError)
    mock.timers.tick(MINUTE_MS)
    mock.timers.tick(MINUTE_MS)
    isAway = false
    while (circuit.isOpen) {
      await backend.stat('f').catch(() => undefined)
      await nextTurn()
    }
    mock.timers.tick(MINUTE_MS)
    assert.deepEqual(
      lines.map(({ msg }) => msg),
      [
        'the store does not answer; requests to it fail at once',
        'the store still does not answer',
        'the store still does not answer',
        'the store answers again',
      ],
    )
    assert.deepEqual(lines[1]?.refused, { list: 2, removeFile: 1 })
    assert.ok((lines[3]?.refused?.['stat'] ?? 0) > 0)
  })
})
