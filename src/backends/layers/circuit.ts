import type { Backend } from '../backend.js'
import { StorageError } from '../storage-error.js'
import { BackendLayer, type BackendCall, type BackendMethod } from './backend-layer.js'
import type { WriterCall } from './layered-writer.js'

export interface CircuitOptions {
  /** Calls in a row that nobody answers before the store is left alone; 0: never. */
  readonly failures: number
  /** How long it is left alone before one call tries again. */
  readonly pauseMs: number
}

/** Nothing was sent: the store is being left alone. */
export class CircuitOpenError extends StorageError {
  /** `last`: what the store did not answer; never such an error itself, whose message would be in the message. */
  constructor(last: StorageError) {
    super(last.errno, `not asked, since the store does not answer: ${last.message}`, {
      retryable: true,
      unanswered: true,
      outcome: 'refused',
      cause: last,
    })
    this.name = 'CircuitOpenError'
  }
}

/**
 * The circuit breaker of one store: after several calls in a row that nobody answered (no connection, or the deadline
 * passed), calls fail at once in place of each waiting for its own deadline; after a pause one call tries again, and its
 * answer, whatever it says, closes the circuit. A refusal is an answer: a broken object does not make the others fail.
 */
export class Circuit {
  private failures = 0
  private lastError: StorageError | null = null
  private retryAtMs = 0
  private isTrying = false

  /** `changed` is told when the circuit opens, with the error, and when it closes, with null. */
  constructor(
    private readonly options: CircuitOptions,
    private readonly changed: (error: StorageError | null) => void = () => undefined,
  ) {}

  get isOpen(): boolean {
    return this.lastError !== null
  }

  /** Run a call of the store. CircuitOpenError while the store is left alone. */
  async run<T>(work: () => Promise<T>): Promise<T> {
    if (this.lastError === null) return this.watch(work)
    if (this.isTrying || performance.now() < this.retryAtMs) throw new CircuitOpenError(this.lastError)
    this.isTrying = true
    try {
      return await this.watch(work)
    } finally {
      this.isTrying = false
    }
  }

  /** Run a call that goes on with what was begun before: it is never refused, but its outcome counts. */
  async watch<T>(work: () => Promise<T>): Promise<T> {
    try {
      const value = await work()
      this.answered()
      return value
    } catch (error) {
      if (error instanceof StorageError && error.unanswered) this.unanswered(error)
      else this.answered()
      throw error
    }
  }

  private answered(): void {
    this.failures = 0
    if (this.lastError === null) return
    this.lastError = null
    this.changed(null)
  }

  private unanswered(error: StorageError): void {
    // Of another circuit: nothing is known of this store.
    if (error instanceof CircuitOpenError) return
    this.failures++
    if (this.options.failures === 0 || this.failures < this.options.failures) return
    this.retryAtMs = performance.now() + this.options.pauseMs
    const wasOpen = this.isOpen
    this.lastError = error
    if (!wasOpen) this.changed(error)
  }
}

/** The same store behind a circuit breaker. */
export class GuardedBackend extends BackendLayer {
  /** `refused` is told of each call that is not made. */
  constructor(
    inner: Backend,
    private readonly circuit: Circuit,
    private readonly refused: (method: BackendMethod) => void = () => undefined,
  ) {
    super(inner)
  }

  protected override around<T>({ method }: BackendCall, run: (store: Backend) => Promise<T>): Promise<T> {
    const { circuit } = this
    const result = circuit.run(() => run(this.inner))
    return circuit.isOpen ? this.watchRefusal(method, result) : result
  }

  private async watchRefusal<T>(method: BackendMethod, result: Promise<T>): Promise<T> {
    try {
      return await result
    } catch (error) {
      if (error instanceof CircuitOpenError) this.refused(method)
      throw error
    }
  }

  /** An upload that was begun may end; giving it up never fails, and so tells nothing. */
  protected override aroundUpload<T>({ method }: WriterCall, run: () => Promise<T>): Promise<T> {
    return method === 'writer.abort' ? run() : this.circuit.watch(run)
  }
}
