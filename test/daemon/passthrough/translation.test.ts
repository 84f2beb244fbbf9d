/** Rules by which names of extended attributes and ids are others on the host than in the guest. */
import assert from 'node:assert/strict'
import { describe, it } from 'node:test'
import { FsError } from '../../../src/fs/fs-error.js'
import { IdTranslation, IdTranslationError } from '../../../src/passthrough/id-translation.js'
import { XattrMap, XattrMapError } from '../../../src/passthrough/xattr-map.js'

describe('rules for names of extended attributes', () => {
  it('keep all names behind a prefix, and hide all others', () => {
    for (const rules of [':map::user.virtiofs.:', ':prefix:all::user.virtiofs.::bad:all:::']) {
      const map = XattrMap.parse(rules)
      assert.deepEqual(map.toHost('trusted.a'), { name: 'user.virtiofs.trusted.a' })
      assert.equal(map.toGuest('user.virtiofs.trusted.a'), 'trusted.a')
      assert.equal(map.toGuest('user.other'), null)
    }
  })

  it('keep names of one kind behind a prefix', () => {
    const written = [
      '/prefix/all/trusted./user.virtiofs./',
      '/bad/server//trusted./',
      '/bad/client/user.virtiofs.//',
    ]
    for (const rules of ['/map/trusted./user.virtiofs./', [...written, '/ok/all///'].join('\n ')]) {
      const map = XattrMap.parse(rules)
      assert.deepEqual(map.toHost('trusted.a'), { name: 'user.virtiofs.trusted.a' })
      assert.deepEqual(map.toHost('user.virtiofs.trusted.a'), { refused: 'EPERM' })
      assert.deepEqual(map.toHost('user.a'), { name: 'user.a' })
      assert.equal(map.toGuest('user.virtiofs.trusted.a'), 'trusted.a')
      assert.equal(map.toGuest('trusted.a'), null)
      assert.equal(map.toGuest('user.a'), 'user.a')
    }
  })

  it('may say that names are not supported', () => {
    const map = XattrMap.parse(':unsupported:all:security.:security.: :ok:all:::')
    assert.deepEqual(map.toHost('security.selinux'), { refused: 'EOPNOTSUPP' })
    assert.equal(map.toGuest('security.selinux'), null)
    assert.deepEqual(map.toHost('user.a'), { name: 'user.a' })
  })

  it('let a name pass that a rule of one side alone is about', () => {
    const map = XattrMap.parse(':bad:server::user.secret.::ok:all:::')
    assert.deepEqual(map.toHost('user.secret.a'), { name: 'user.secret.a' })
    assert.equal(map.toGuest('user.secret.a'), null)
  })

  it('refuse what none of them is about', () => {
    const map = XattrMap.parse(':ok:all:user.:user.:')
    assert.deepEqual(map.toHost('trusted.a'), { refused: 'EPERM' })
    assert.equal(map.toGuest('trusted.a'), null)
  })

  for (const [rules, message] of [
    ['', 'there is no rule'],
    [':prefix:all:a:b', 'rule 1 has no end'],
    [':ok:all::: :keep:all:::', 'rule 2 is none of prefix, ok, bad, unsupported and map'],
    [':ok:some:::', 'rule 1 is for none of client, server and all'],
    [':map::user.a.: :ok:all:::', 'rule 1 is a map, which has to be the last one'],
  ] as const) {
    it(`are refused: ${rules}`, () => {
      assert.throws(() => XattrMap.parse(rules), new XattrMapError(message))
    })
  }
})

describe('rules for ids', () => {
  it('map a range in both directions, and leave others alone', () => {
    const ids = IdTranslation.parse('map:1000:5000:10')
    assert.deepEqual(
      [999, 1000, 1009, 1010].map((id) => ids.toHost(id)),
      [999, 5000, 5009, 1010],
    )
    assert.deepEqual(
      [4999, 5000, 5009, 5010].map((id) => ids.toGuest(id)),
      [4999, 1000, 1009, 5010],
    )
  })

  it('map in one direction only, squash and forbid', () => {
    const ids = IdTranslation.parse(
      'guest:0:100:10 squash-guest:10:7:10,host:100:0:5 squash-host:200:65534:50 forbid-guest:20:5',
    )
    assert.deepEqual(
      [0, 9, 10, 19, 25].map((id) => ids.toHost(id)),
      [100, 109, 7, 7, 25],
    )
    assert.deepEqual(
      [100, 104, 105, 200, 249, 250].map((id) => ids.toGuest(id)),
      [0, 4, 105, 65534, 65534, 250],
    )
    assert.throws(
      () => ids.toHost(24),
      (error) => error instanceof FsError && error.errno === 'EPERM',
    )
  })

  it('squash all', () => {
    const ids = IdTranslation.parse('squash-guest:0:1001:4294967295 host:1001:1000:1')
    assert.equal(ids.toHost(4294967294), 1001)
    assert.equal(ids.toGuest(1001), 1000)
  })

  for (const rules of [
    'map:0:1',
    'forbid-guest:1:2:3',
    'map:0:4294967295:2',
    'map:0:1:0',
    'map:a:1:1',
    'move:0:1:1',
    'guest:0:10:10 guest:9:100:1',
    'map:0:10:10 host:19:0:1',
  ]) {
    it(`are refused: ${rules}`, () => {
      assert.throws(() => IdTranslation.parse(rules), IdTranslationError)
    })
  }
})
