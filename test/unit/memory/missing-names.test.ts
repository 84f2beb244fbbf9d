/** Names that are missing cost nothing for ever: each error of OpenDAL's binding does. */
import assert from 'node:assert/strict'
import { execFile } from 'node:child_process'
import { existsSync } from 'node:fs'
import { it } from 'node:test'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'

const LOOKS = 300_000
/** Of each look, for pages that come and go: measured 117 where each look is an error of the binding, and -10 to 4 where none is. */
const MOST_BYTES = 60

const PROGRAM = fileURLToPath(new URL('../../lib/memory/look-for-missing.js', import.meta.url))

for (const layer of ['objects', 'directories'])
  it(
    `look-ups of missing names through OpenDAL leave no memory (${layer})`,
    { skip: existsSync('/proc/self/status') ? false : 'needs /proc' },
    async (t) => {
      const { stdout } = await promisify(execFile)(process.execPath, [
        '--expose-gc',
        PROGRAM,
        layer,
        String(LOOKS),
      ])
      const grownBytes = Number(stdout)
      t.diagnostic(`${Math.round(grownBytes / (LOOKS / 100_000) / 1024)} KiB per 100,000 look-ups`)
      assert.ok(Number.isFinite(grownBytes))
      assert.ok(grownBytes / LOOKS < MOST_BYTES, `${(grownBytes / LOOKS).toFixed(0)} bytes of each stay`)
    },
  )
