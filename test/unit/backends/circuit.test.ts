import assert from 'node:assert/strict'
import { describe, it } from 'node:test'
import { Circuit, CircuitOpenError, GuardedBackend } from '../../../src/backends/layers/circuit.js'
import { EmptyBackend } from '../../../src/backends/local/empty-backend.js'
import { StorageError } from '../../../src/backends/storage-error.js'
import { withMembers } from '../../support/backends.js'

const FAILURES = 3
/** Longer than any test, unless a test wants the pause to be over. */
const LONG_PAUSE_MS = 3_600_000

const away = (): Promise<never> =>
  Promise.reject(new StorageError('ETIMEDOUT', 'no answer', { retryable: true, unanswered: true }))
const refusal = (): Promise<never> =>
  Promise.reject(new StorageError('EIO', 'status 500', { retryable: true }))
const answer = (): Promise<string> => Promise.resolve('answer')

function circuitOf(pauseMs: number, changes: (string | null)[] = []): Circuit {
  return new Circuit({ failures: FAILURES, pauseMs }, (error) => changes.push(error?.errno ?? null))
}

async function open(circuit: Circuit): Promise<void> {
  for (let i = 0; i < FAILURES; i++) await assert.rejects(circuit.run(away), /no answer/)
  assert.ok(circuit.isOpen)
}

describe('a circuit', () => {
  it('opens after failures in a row, and then fails at once without a call', async () => {
    const changes: (string | null)[] = []
    const circuit = circuitOf(LONG_PAUSE_MS, changes)
    await open(circuit)
    let calls = 0
    await assert.rejects(
      circuit.run(() => {
        calls++
        return answer()
      }),
      (error) => error instanceof CircuitOpenError && error.errno === 'ETIMEDOUT' && error.retryable,
    )
    assert.equal(calls, 0)
    assert.deepEqual(changes, ['ETIMEDOUT'])
  })

  it('stays closed while an answer comes now and then, and a refusal is an answer', async () => {
    const circuit = circuitOf(LONG_PAUSE_MS)
    for (let round = 0; round < 10; round++) {
      for (let i = 1; i < FAILURES; i++) await assert.rejects(circuit.run(away))
      if (round % 2 === 0) assert.equal(await circuit.run(answer), 'answer')
      else await assert.rejects(circuit.run(refusal), /status 500/)
      assert.ok(!circuit.isOpen)
    }
  })

  it('lets one call try after the pause; its answer closes it, its failure does not', async () => {
    const changes: (string | null)[] = []
    const circuit = circuitOf(0, changes)
    await open(circuit)
    await assert.rejects(circuit.run(away), /^StorageError: no answer/)
    assert.ok(circuit.isOpen)
    let finish: (value: string) => void = () => undefined
    const trial = circuit.run(
      () =>
        new Promise<string>((resolve) => {
          finish = resolve
        }),
    )
    await assert.rejects(circuit.run(answer), CircuitOpenError)
    finish('back')
    assert.equal(await trial, 'back')
    assert.equal(await circuit.run(answer), 'answer')
    assert.deepEqual(changes, ['ETIMEDOUT', null])
  })

  it('is closed by the late answer of a call that began before', async () => {
    const circuit = circuitOf(LONG_PAUSE_MS)
    let finish: (value: string) => void = () => undefined
    const early = circuit.run(
      () =>
        new Promise<string>((resolve) => {
          finish = resolve
        }),
    )
    await open(circuit)
    finish('late')
    await early
    assert.equal(await circuit.run(answer), 'answer')
  })

  it('with 0 failures never opens', async () => {
    const circuit = new Circuit({ failures: 0, pauseMs: LONG_PAUSE_MS })
    for (let i = 0; i < 100; i++) await assert.rejects(circuit.run(away), /no answer/)
    assert.equal(await circuit.run(answer), 'answer')
  })
})

describe('a store behind a circuit', () => {
  it('answers what needs no server, and goes on with uploads that were begun', async () => {
    let isAway = false
    let written = 0
    const store = withMembers(new EmptyBackend(), {
      stat: () => (isAway ? away() : Promise.resolve(null)),
      createWriter: () =>
        Promise.resolve({
          write: () => {
            written++
            return Promise.resolve()
          },
          close: away,
          abort: () => Promise.resolve(),
        }),
    })
    const backend = new GuardedBackend(store, circuitOf(LONG_PAUSE_MS))
    const writer = await backend.createWriter('f', undefined)
    isAway = true
    for (let i = 0; i < FAILURES; i++) await assert.rejects(backend.stat('f'), /no answer/)
    await assert.rejects(backend.stat('f'), CircuitOpenError)
    await assert.rejects(backend.createWriter('g', undefined), CircuitOpenError)
    assert.equal(backend.accepts('f'), true)
    assert.equal(backend.capabilities, store.capabilities)
    isAway = false
    await writer.write(new Uint8Array(1))
    assert.equal(written, 1)
    assert.equal(await backend.stat('f'), null)
  })
})
