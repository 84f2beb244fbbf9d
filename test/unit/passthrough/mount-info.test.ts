/** Which file systems of the host lie below a directory. */
import assert from 'node:assert/strict'
import { it } from 'node:test'
import { fileSystemsIn } from '../../../src/passthrough/mount-info.js'

const MOUNTINFO = [
  '21 1 8:1 / / rw,relatime - ext4 /dev/sda1 rw',
  '30 21 0:20 / /srv rw - tmpfs tmpfs rw',
  '31 30 8:2 / /srv/share/data rw - ext4 /dev/sdb rw',
  '32 30 8:2 /sub /srv/share/again rw - ext4 /dev/sdb rw',
  '33 30 8:3 / /srv/share/with\\040space\\134here rw - xfs /dev/sdc rw',
  '34 30 8:4 / /srv/shared rw - ext4 /dev/sdd rw',
  '35 30 8:5 / /srv/share rw - ext4 /dev/sde rw',
  '',
].join('\n')

it('are those that are mounted below it, each once, whatever their names have', () => {
  assert.deepEqual(fileSystemsIn(MOUNTINFO, '/srv/share'), [
    '/srv/share/again',
    '/srv/share/with space\\here',
  ])
})

it('of the root are all others', () => {
  assert.equal(fileSystemsIn(MOUNTINFO, '/').length, 5)
})
