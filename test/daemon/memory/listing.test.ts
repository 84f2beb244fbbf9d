/** What a listing of a million names takes of a daemon of its own process, and that others are served meanwhile. */
import assert from 'node:assert/strict'
import { existsSync } from 'node:fs'
import { it } from 'node:test'
import { measureListing, prepareStore } from '../../support/large-directory.js'

const NAMES = 1_000_000
/** A page of S3's. */
const PAGE_NAMES = 1000
const BOUND_BYTES = 64 << 20
/** Generous: 14 ms were measured, and a collector's threads may get no processor. */
const BOUND_MS = 250

it(
  'a listing of a million names takes bounded memory and gives others their turns',
  { skip: existsSync('/proc/self/schedstat') ? false : 'needs /proc', timeout: 300_000 },
  async (t) => {
    const store = await prepareStore('s3', NAMES)
    t.after(() => {
      store.dispose()
    })
    const { names, memoryBytes, loop, requests, looksRequests, seconds } = await measureListing(
      store,
      'READDIR',
    )
    t.diagnostic(
      `${seconds.toFixed(1)} s, ${(memoryBytes / 2 ** 20).toFixed(1)} MiB, longest work ${loop.longestWorkMs.toFixed(1)} ms, longest stall ${loop.longestMs.toFixed(1)} ms, ${loop.turns} turns`,
    )
    assert.equal(names, NAMES)
    assert.ok(memoryBytes <= BOUND_BYTES, `${memoryBytes} bytes`)
    assert.ok(loop.turns >= NAMES / PAGE_NAMES, `${loop.turns} turns of the loop`)
    assert.ok(loop.longestWorkMs <= BOUND_MS, `${loop.longestWorkMs} ms in one turn`)
    assert.ok((requests['LIST'] ?? 0) <= NAMES / PAGE_NAMES + 1)
    // Looks at names after the listing: pages, not names, are asked for.
    assert.equal(looksRequests['HEAD'] ?? 0, 0)
    assert.ok((looksRequests['LIST'] ?? 0) <= 25, `${looksRequests['LIST']} lists for the looks`)
  },
)
