/** One listing in place of many looks at names of a directory. */
import assert from 'node:assert/strict'
import { it } from 'node:test'
import { withListedAttributes, withMembers } from '../../support/backends.js'
import { drive, memory } from '../../lib/model/driving.js'

/** More than a walk begins with. */
const LOOKS = 20

it('what was listed in place of looks is forgotten with its directory', async (t) => {
  const stored = withListedAttributes(memory())
  await stored.createDirectory('d')
  let listings = 0
  const driver = drive(
    t,
    withMembers(stored, {
      listsStats: true,
      listSmall: (path) => {
        listings++
        return stored.list(path)
      },
    }),
  )
  const { fs, root } = driver
  for (let round = 1; round <= 3; round++) {
    await driver.holding(['d'], async () => {
      for (let i = 0; i < LOOKS; i++) await assert.rejects(driver.stat(['d', `missing-${round}-${i}`]))
      assert.equal(listings, round)
      assert.equal(root.mount.lookupBursts.size, 1)
    })
    await driver.unusedFreed()
    assert.equal(root.mount.lookupBursts.size, 0)
    assert.equal(fs.inodes.count, 1)
  }
})
