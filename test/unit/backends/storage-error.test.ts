/** OpenDAL's messages as errnos, and whether the same call may succeed later. */
import assert from 'node:assert/strict'
import { it } from 'node:test'
import { toStorageError } from '../../../src/backends/storage-error.js'

for (const [message, errno, retryable] of [
  ['PermissionDenied (permanent) at write, context: {}', 'EACCES', false],
  // What the retry layer makes of it, though it has not tried again.
  ['PermissionDenied (persistent) at write, context: {}', 'EACCES', false],
  ['IsADirectory (persistent) at read', 'EISDIR', false],
  ['Unsupported (persistent) at rename', 'EOPNOTSUPP', false],
  ['Unexpected (persistent) at write, context: { status: 503 }', 'EIO', true],
  ['RateLimited (persistent) at write', 'EIO', true],
  ['Unexpected (permanent) at write', 'EIO', false],
  ['Unexpected (persistent) at stat => io operation timeout reached', 'ETIMEDOUT', true],
  // An answer, whatever its headers speak of.
  [
    'NotFound (permanent) at stat, context: { response: Parts { headers: {"keep-alive": "timeout=5"} } }',
    'ENOENT',
    false,
  ],
] as const) {
  it(message, () => {
    const error = toStorageError(new Error(message))
    assert.deepEqual([error.errno, error.retryable], [errno, retryable])
  })
}

for (const [message, outcome] of [
  [
    'Unexpected (persistent) at write, context: { response: Parts { status: 500, version: HTTP/1.1 } }',
    'unknown',
  ],
  [
    'Unexpected (persistent) at write, context: { response: Parts { status: 503, version: HTTP/1.1 } }',
    'refused',
  ],
  ['RateLimited (persistent) at write, context: { response: Parts { status: 429 } }', 'refused'],
  ['Unexpected (persistent) at write => send http request, source: connection closed before', 'unknown'],
  ['Unexpected (persistent) at write => send http request: tcp connect error: Connection refused', 'refused'],
  ['Unexpected (persistent) at write => io operation timeout reached', 'unknown'],
] as const) {
  it(`${outcome}: ${message}`, () => {
    assert.equal(toStorageError(new Error(message)).outcome, outcome)
  })
}
