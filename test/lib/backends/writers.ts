/** What the tests of writers beside each other do alike on every server. */
import assert from 'node:assert/strict'
import type { Backend, ObjectStat, WriteOptions } from '../../../src/backends/backend.js'
import { StorageError } from '../../../src/backends/storage-error.js'

/** No operation here makes more requests. */
export const MAX_REQUESTS = 40

export async function outcomeOf<T>(call: Promise<T>): Promise<T | StorageError> {
  try {
    return await call
  } catch (error) {
    assert.ok(error instanceof StorageError, String(error))
    return error
  }
}

/** Run `attempt(k)` with k = 0, 1, ..., each after `begin`, until the operation makes no request k. */
export async function forEachRequestAfter(
  begin: () => Promise<void>,
  attempt: (turn: number) => Promise<{ count: number }>,
): Promise<void> {
  for (let turn = 0; ; turn++) {
    assert.ok(turn < MAX_REQUESTS, 'an operation without an end')
    await begin()
    if ((await attempt(turn)).count <= turn) return
  }
}

type Write = (data: string, expected: string | null, options: WriteOptions) => Promise<ObjectStat>

/** The ways in which the file "f" can be stored. */
export function waysToWrite(backend: () => Backend): Readonly<Record<string, Write>> {
  return {
    write: (data, expected, options) => backend().write('f', Buffer.from(data), expected, options),
    'an upload': async (data, expected, options) => {
      const writer = await backend().createWriter('f', expected, options)
      try {
        await writer.write(Buffer.from(data))
        return await writer.close()
      } catch (error) {
        await writer.abort()
        throw error
      }
    },
  }
}
