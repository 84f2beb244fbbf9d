/** Counts and times the calls of a mount's store. */
import { constants } from 'node:os'
import { backendOperationIndex, type BackendCounters } from '../../observability/backend-counters.js'
import type { Backend, BackendWriter } from '../backend.js'
import { interceptCalls } from './intercept.js'
import { toStorageError } from '../storage-error.js'

const US_PER_MS = 1000

/** The argument of the methods that give data; see Backend. */
const DATA = 1

/** The same store, its calls counted. What its circuit breaker refuses never was a call, so this stands behind it. */
export function withCounters(backend: Backend, counters: BackendCounters): Backend {
  backend.reportRetries?.(() => {
    counters.retries++
  })
  return interceptCalls(backend, async (method, args, run) => {
    const index = backendOperationIndex(method)
    if (index < 0) return run()
    const data = args[DATA]
    const givenBytes = data instanceof Uint8Array ? data.byteLength : 0
    const result = await count(counters, index, givenBytes, run)
    return method === 'createWriter' ? countWriter(result as BackendWriter, counters) : result
  })
}

async function count<T>(
  counters: BackendCounters,
  index: number,
  givenBytes: number,
  run: () => Promise<T>,
): Promise<T> {
  const { operations } = counters
  const startMs = performance.now()
  let bytes = 0
  counters.inFlight++
  try {
    const result = await run()
    bytes = result instanceof Uint8Array ? result.byteLength : givenBytes
    return result
  } catch (error) {
    operations.addErrors(index, constants.errno[toStorageError(error).errno], 1)
    throw error
  } finally {
    counters.inFlight--
    operations.add(index, 1, (performance.now() - startMs) * US_PER_MS, bytes)
  }
}

function countWriter(writer: BackendWriter, counters: BackendCounters): BackendWriter {
  const around = <T>(method: string, givenBytes: number, run: () => Promise<T>): Promise<T> =>
    count(counters, backendOperationIndex(method), givenBytes, run)
  return {
    write: (data) => around('writer.write', data.byteLength, () => writer.write(data)),
    ...(writer.whenSent === undefined
      ? {}
      : { whenSent: (data: Uint8Array) => writer.whenSent?.(data) ?? Promise.resolve() }),
    close: () => around('writer.close', 0, () => writer.close()),
    abort: () => around('writer.abort', 0, () => writer.abort()),
  }
}
