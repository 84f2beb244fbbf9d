import assert from 'node:assert/strict'
import { constants } from 'node:os'
import { it } from 'node:test'
import type { Span } from '@opentelemetry/api'
import type { RequestRecord } from '../../../src/observability/request-record.js'
import { setOutcome } from '../../../src/observability/span-attributes.js'

/** What is set on the span of such a request. */
function outcome(operation: string, errno: number): Record<string, unknown> {
  const set: Record<string, unknown> = {}
  const span: Pick<Span, 'setAttribute' | 'setStatus'> = {
    setAttribute: (key, value) => {
      set[key] = value
      return span as Span
    },
    setStatus: ({ message }) => {
      set['status'] = message
      return span as Span
    },
  }
  setOutcome(span as Span, { operation, errno, bytes: 0, openedFh: null } as RequestRecord)
  return set
}

it('a span has the errno by the name that Linux gives it', () => {
  const { EOPNOTSUPP, EAGAIN } = constants.errno
  assert.equal(outcome('fallocate', EOPNOTSUPP)['ovfsd.errno_name'], 'EOPNOTSUPP')
  assert.equal(outcome('fallocate', EOPNOTSUPP)['status'], 'EOPNOTSUPP')
  assert.equal(outcome('setlk', EAGAIN)['ovfsd.errno_name'], 'EAGAIN')
})

it('an answer that tells what there is makes no error of the span', () => {
  const { EOPNOTSUPP, ENODATA, ENOENT, ENOSYS } = constants.errno
  for (const [operation, errno] of [
    ['getxattr', EOPNOTSUPP],
    ['getxattr', ENODATA],
    ['lookup', ENOENT],
    ['ioctl', ENOSYS],
  ] as const)
    assert.equal(outcome(operation, errno)['status'], undefined, `${operation} ${errno}`)
  assert.equal(outcome('read', ENOENT)['status'], 'ENOENT')
})
