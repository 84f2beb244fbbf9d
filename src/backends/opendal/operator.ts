import { createRequire } from 'node:module'
import path from 'node:path'
import type * as Opendal from 'opendal'
import type { Operator } from 'opendal'

export interface OperatorOptions {
  /** OpenDAL's name of the service. */
  readonly scheme: string
  /** OpenDAL's own option names. */
  readonly options: Readonly<Record<string, string>>
  /** Deadline of one try of any call. */
  readonly timeoutMs: number
  /** False: each call is one try. */
  readonly retries?: boolean
}

/** Tries after the first that a temporary error gets; with OpenDAL's doubling from 1 s this bounds a call to about three timeouts. */
const RETRY_TIMES = 2
/** First pause between two tries; short, since a guest's process waits. */
const RETRY_MIN_DELAY_MS = 100
const RETRY_MAX_DELAY_MS = 2000

/**
 * The binding is 40 MB of native code: only for a daemon that has a mount which needs it. Its front for require() has no layers, so
 * this is the file behind both of its fronts; the version is pinned.
 */
function loadOpendal(): typeof Opendal {
  const require = createRequire(import.meta.url)
  const directory = path.dirname(require.resolve('opendal/package.json'))
  return require(path.join(directory, 'generated.js')) as typeof Opendal
}

/**
 * An operator with a deadline on every call (OpenDAL has none by default) and retries of temporary errors.
 * The order matters: the timeout is the inner layer, so that each try has its own.
 */
export function createOperator({ scheme, options, timeoutMs, retries = true }: OperatorOptions): Operator {
  const opendal = loadOpendal()
  const timeout = new opendal.TimeoutLayer()
  timeout.timeout = timeoutMs
  timeout.ioTimeout = timeoutMs
  const operator = new opendal.Operator(scheme, { ...options }).layer(timeout.build())
  if (!retries) return operator
  const retry = new opendal.RetryLayer()
  retry.maxTimes = RETRY_TIMES
  retry.minDelay = RETRY_MIN_DELAY_MS
  retry.maxDelay = RETRY_MAX_DELAY_MS
  retry.jitter = true
  return operator.layer(retry.build())
}
