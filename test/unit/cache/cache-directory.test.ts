import assert from 'node:assert/strict'
import { chmodSync, chownSync, mkdirSync, mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { describe, it } from 'node:test'
import { CacheDirectory } from '../../../src/cache/cache-directory.js'

const TIER_BYTES = 64 << 20
const SOMEBODY = 1000
const isRoot = process.geteuid?.() === 0

async function openWith(prepare: (directory: string) => void): Promise<void> {
  const directory = mkdtempSync(join(tmpdir(), 'ovfsd-cache-directory-'))
  try {
    prepare(directory)
    const opened = await CacheDirectory.open(directory, TIER_BYTES)
    opened.close()
  } finally {
    rmSync(directory, { recursive: true })
  }
}

describe('a directory for the cache', () => {
  it('that is its user’s alone is taken, others may read it', async () => {
    await openWith(() => undefined)
    await openWith((directory) => {
      chmodSync(directory, 0o755)
    })
  })

  it('that others may write to is refused, in its parts too', async () => {
    for (const mode of [0o777, 0o775, 0o1777])
      await assert.rejects(
        openWith((directory) => {
          chmodSync(directory, mode)
        }),
        /others may write to/,
      )
    await assert.rejects(
      openWith((directory) => {
        mkdirSync(join(directory, 'staged'))
        chmodSync(join(directory, 'staged'), 0o777)
      }),
      /others may write to .*staged/,
    )
  })

  it('of another user is refused', { skip: !isRoot }, async () => {
    await assert.rejects(
      openWith((directory) => {
        chownSync(directory, SOMEBODY, SOMEBODY)
      }),
      /belongs to user 1000/,
    )
  })
})
