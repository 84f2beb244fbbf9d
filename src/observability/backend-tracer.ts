/** A call of a mount's store, as a span shows it. */
export interface BackendCall {
  /** The mount's name. */
  readonly mount: string
  /** One of BACKEND_OPERATION_NAMES. */
  readonly operation: string
  /** Within the store; '' is the mount's root, and what concerns no single object. */
  readonly path: string
  /** READ: where it begins and how much is asked for; writes: how much is given. null for others. */
  readonly offset: number | null
  readonly sizeBytes: number | null
}

/** Sees each call of a store from its begin to its end. */
export interface BackendTracer {
  /** Run the call and settle as it does. Must not fail by itself. */
  trace<T>(call: BackendCall, run: () => Promise<T>): Promise<T>
}

/** Who traces the calls of all stores of a server; null: nobody. */
export interface BackendTracing {
  tracer: BackendTracer | null
}
