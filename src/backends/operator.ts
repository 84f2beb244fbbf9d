import opendal from 'opendal'
import type { Operator } from 'opendal'

export interface OperatorOptions {
  /** OpenDAL's name of the service. */
  readonly scheme: string
  /** OpenDAL's own option names. */
  readonly options: Readonly<Record<string, string>>
  /** Deadline of one try of any call. */
  readonly timeoutMs: number
}

/** Tries after the first that a temporary error gets; with OpenDAL's doubling from 1 s this bounds a call to about three timeouts. */
const RETRY_TIMES = 2
/** First pause between two tries; short, since a guest's process waits. */
const RETRY_MIN_DELAY_MS = 100
const RETRY_MAX_DELAY_MS = 2000

/**
 * An operator with a deadline on every call (OpenDAL has none by default) and retries of temporary errors.
 * The order matters: the timeout is the inner layer, so that each try has its own.
 */
export function createOperator({ scheme, options, timeoutMs }: OperatorOptions): Operator {
  const timeout = new opendal.TimeoutLayer()
  timeout.timeout = timeoutMs
  timeout.ioTimeout = timeoutMs
  const retry = new opendal.RetryLayer()
  retry.maxTimes = RETRY_TIMES
  retry.minDelay = RETRY_MIN_DELAY_MS
  retry.maxDelay = RETRY_MAX_DELAY_MS
  retry.jitter = true
  return new opendal.Operator(scheme, { ...options }).layer(timeout.build()).layer(retry.build())
}
