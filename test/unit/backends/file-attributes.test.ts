/** Mode, owner and time as text in an object's metadata: ours, that of other programs, and anything else. */
import assert from 'node:assert/strict'
import { describe, it } from 'node:test'
import {
  changeMetadata,
  decodeMtime,
  decodePermissions,
  encodeAttributes,
} from '../../../src/backends/objects/file-attributes.js'

const NOTHING = { mode: null, uid: null, gid: null }
const EPOCH = { seconds: 0, nanoseconds: 0 }

describe('attributes in metadata', () => {
  it('are written as s3fs and rclone do', () => {
    const mtime = { seconds: 1_700_000_000, nanoseconds: 5_000_000 }
    assert.deepEqual(encodeAttributes({ mode: 0o644, uid: 1000, gid: 0, mtime }, 'file'), {
      mode: '33188',
      uid: '1000',
      gid: '0',
      mtime: '1700000000.005000000',
    })
    assert.deepEqual(encodeAttributes({ ...NOTHING, mode: 0o1777, mtime: EPOCH }, 'directory'), {
      mode: '17407',
      mtime: '0',
    })
  })

  it('come back as they were', () => {
    for (const seconds of [-86_400, -2, -1, 0, 1, 2 ** 31, 2 ** 33]) {
      for (const nanoseconds of [0, 1, 500_000_000, 999_999_999]) {
        const mtime = { seconds, nanoseconds }
        const metadata = encodeAttributes({ ...NOTHING, mtime }, 'file')
        assert.deepEqual(decodeMtime(metadata), mtime, metadata['mtime'])
      }
    }
    for (const kind of ['file', 'directory'] as const) {
      for (let mode = 0; mode <= 0o7777; mode++) {
        const permissions = { mode, uid: mode, gid: 0xffff_fffe }
        const metadata = encodeAttributes({ ...permissions, mtime: EPOCH }, kind)
        assert.deepEqual(decodePermissions(metadata, kind), permissions)
      }
    }
  })

  it('of other programs are understood', () => {
    // rclone --metadata has the mode in octal.
    for (const mode of ['33188', '100644', '0100644', '0o100644', '0644']) {
      assert.equal(decodePermissions({ mode }, 'file').mode, 0o644, mode)
    }
    assert.equal(decodePermissions({ mode: '40755' }, 'directory').mode, 0o755)
    assert.equal(decodePermissions({ mode: '16877' }, 'directory').mode, 0o755)
    assert.deepEqual(decodeMtime({ mtime: '1354040105.5' }), { seconds: 1_354_040_105, nanoseconds: 5e8 })
    assert.deepEqual(decodeMtime({ mtime: '1.1234567899' }), { seconds: 1, nanoseconds: 123_456_789 })
    assert.deepEqual(decodeMtime({ mtime: '-1.5' }), { seconds: -2, nanoseconds: 5e8 })
  })

  it('that are none count as if they were not there', () => {
    const modes = [
      '',
      'rw-r--r--',
      '-1',
      '33188.0',
      '1e4',
      '644',
      '41471',
      '16877',
      '99999999',
      ' 33188',
      '٣',
    ]
    for (const mode of modes) assert.equal(decodePermissions({ mode }, 'file').mode, null, mode)
    for (const id of ['', '-1', '4294967295', '99999999999', '0x10', 'root', '1 ']) {
      assert.deepEqual(decodePermissions({ uid: id, gid: id }, 'file'), NOTHING, id)
    }
    for (const mtime of [
      '',
      'now',
      '2020-01-01T00:00:00Z',
      '1e9',
      '.5',
      '1.',
      '--1',
      '123456789012',
      '1,5',
    ]) {
      assert.equal(decodeMtime({ mtime }), null, mtime)
    }
    assert.equal(decodeMtime({}), null)
  })

  it('change one by one, and leave everything else in place', () => {
    const before = { mode: '33188', uid: 'nobody', md5chksum: 'x', mtime: '17.5' }
    const { metadata, attributes } = changeMetadata(before, 'file', { gid: 7 }, EPOCH)
    assert.deepEqual(metadata, { ...before, mtime: '17.500000000', gid: '7' })
    const mtime = { seconds: 17, nanoseconds: 500_000_000 }
    assert.deepEqual(attributes, { mode: 0o644, uid: null, gid: 7, mtime })
    // The time of the object itself, which the change moves, is written down.
    assert.deepEqual(changeMetadata({}, 'file', { mode: 0o600 }, mtime).metadata, {
      mode: '33152',
      mtime: '17.500000000',
    })
  })
})
