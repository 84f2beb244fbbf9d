/** Counts and times the calls of a mount's store. */
import { constants } from 'node:os'
import { backendOperationIndex, type BackendCounters } from '../../observability/backend-counters.js'
import type { Backend } from '../backend.js'
import { toStorageError } from '../storage-error.js'
import { BackendLayer, type BackendCall } from './backend-layer.js'
import type { WriterCall } from './layered-writer.js'

const US_PER_MS = 1000

/** What its circuit breaker refuses never was a call, so this stands behind it. */
export class CountedBackend extends BackendLayer {
  constructor(
    inner: Backend,
    private readonly counters: BackendCounters,
  ) {
    super(inner)
    this.reportRetries?.(() => {
      counters.retries++
    })
  }

  protected override around<T>(call: BackendCall, run: (store: Backend) => Promise<T>): Promise<T> {
    return this.count(call, run)
  }

  protected override aroundUpload<T>(call: WriterCall, run: () => Promise<T>): Promise<T> {
    return this.count(call, run)
  }

  /** Bytes of what failed are not counted: nobody has them. */
  private async count<T>(
    { method, sizeBytes }: Pick<BackendCall, 'sizeBytes'> & { readonly method: string },
    run: (store: Backend) => Promise<T>,
  ): Promise<T> {
    const { counters } = this
    const index = backendOperationIndex(method)
    const startMs = performance.now()
    let bytes = 0
    counters.inFlight++
    try {
      const result = await run(this.inner)
      bytes = sizeBytes
      return result
    } catch (error) {
      counters.operations.addErrors(index, constants.errno[toStorageError(error).errno], 1)
      throw error
    } finally {
      counters.inFlight--
      counters.operations.add(index, 1, (performance.now() - startMs) * US_PER_MS, bytes)
    }
  }
}
