import type { Backend } from '../backends/backend.js'
import { BackendLayer, type BackendCall } from '../backends/layers/backend-layer.js'
import { EmptyBackend } from '../backends/local/empty-backend.js'
import { toStorageError, type StorageError } from '../backends/storage-error.js'

/** A store that could not be set up is tried again at most this often, by the requests that need it. */
const RETRY_MS = 1000

/**
 * Stands in for a store that could not be set up (a directory that is not there yet): requests are answered with the
 * error of the last try until one succeeds. `succeeded` is told once, and puts the store in this one's place. What can be said
 * without the store: that any name may be asked for, and modest capabilities.
 */
export class DeferredBackend extends BackendLayer {
  private error: StorageError
  private triedMs = performance.now()
  private made: Backend | null = null

  constructor(
    private readonly make: () => Backend,
    firstError: unknown,
    private readonly succeeded: (backend: Backend) => void,
  ) {
    super(new EmptyBackend())
    this.error = toStorageError(firstError)
  }

  protected override async around<T>(_call: BackendCall, run: (store: Backend) => Promise<T>): Promise<T> {
    return await run(this.connect())
  }

  private connect(): Backend {
    if (this.made !== null) return this.made
    if (performance.now() - this.triedMs < RETRY_MS) throw this.error
    this.triedMs = performance.now()
    try {
      this.made = this.make()
    } catch (failure) {
      this.error = toStorageError(failure)
      throw this.error
    }
    this.succeeded(this.made)
    return this.made
  }
}
