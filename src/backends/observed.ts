/** Counts, times and traces the calls of a mount's store. */
import { constants } from 'node:os'
import {
  backendOperationIndex,
  backendOperationName,
  type BackendCounters,
} from '../observability/backend-counters.js'
import type { BackendTracing } from '../observability/backend-tracer.js'
import type { Backend, BackendWriter } from './backend.js'
import { interceptCalls } from './intercept.js'
import { toStorageError } from './storage-error.js'

const US_PER_MS = 1000

/** Arguments of the methods that name a range or give data; see Backend. */
const OFFSET = 1
const LENGTH = 2
const DATA = 1

/** Who looks at the calls of one mount. */
export interface BackendObserver {
  /** The mount's name. */
  readonly mount: string
  readonly counters: BackendCounters
  readonly tracing: BackendTracing
}

interface Call {
  /** Of BackendCounters. */
  readonly index: number
  readonly path: string
  readonly offset: number | null
  readonly sizeBytes: number | null
}

/** The same store, its calls counted. What its circuit breaker refuses never was a call, so this stands behind it. */
export function withObserver(backend: Backend, observer: BackendObserver): Backend {
  const { counters } = observer
  backend.reportRetries?.(() => {
    counters.retries++
  })
  return interceptCalls(backend, async (method, args, run) => {
    const index = backendOperationIndex(method)
    if (index < 0) return run()
    const path = typeof args[0] === 'string' ? args[0] : ''
    const result = await observe(observer, { index, path, ...extentOf(method, args) }, run)
    return method === 'createWriter' ? observeWriter(result as BackendWriter, path, observer) : result
  })
}

function extentOf(method: string, args: readonly unknown[]): Pick<Call, 'offset' | 'sizeBytes'> {
  if (method === 'read') return { offset: args[OFFSET] as number, sizeBytes: args[LENGTH] as number }
  const data = args[DATA]
  return { offset: null, sizeBytes: data instanceof Uint8Array ? data.byteLength : null }
}

async function observe<T>(
  { mount, counters, tracing }: BackendObserver,
  call: Call,
  run: () => Promise<T>,
): Promise<T> {
  const { index, path, offset, sizeBytes } = call
  const { operations } = counters
  const startMs = performance.now()
  let bytes = 0
  counters.inFlight++
  try {
    const operation = backendOperationName(index)
    const { tracer } = tracing
    const result =
      tracer === null ? await run() : await tracer.trace({ mount, operation, path, offset, sizeBytes }, run)
    bytes = result instanceof Uint8Array ? result.byteLength : (sizeBytes ?? 0)
    return result
  } catch (error) {
    operations.addError(index, constants.errno[toStorageError(error).errno])
    throw error
  } finally {
    counters.inFlight--
    operations.add(index, 1, (performance.now() - startMs) * US_PER_MS, bytes)
  }
}

function observeWriter(writer: BackendWriter, path: string, observer: BackendObserver): BackendWriter {
  const around = <T>(method: string, sizeBytes: number | null, run: () => Promise<T>): Promise<T> =>
    observe(observer, { index: backendOperationIndex(method), path, offset: null, sizeBytes }, run)
  return {
    write: (data) => around('writer.write', data.byteLength, () => writer.write(data)),
    ...(writer.whenSent === undefined
      ? {}
      : { whenSent: (data: Uint8Array) => writer.whenSent?.(data) ?? Promise.resolve() }),
    close: () => around('writer.close', null, () => writer.close()),
    abort: () => around('writer.abort', null, () => writer.abort()),
  }
}
