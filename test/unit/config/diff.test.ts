import assert from 'node:assert/strict'
import { describe, it } from 'node:test'
import { appliedSettings, diffSettings, parseSettings, type Settings } from '../../../src/config/index.js'

function settings(server: string, profiles: Readonly<Record<string, string>>): Settings {
  const tables = Object.entries(profiles).map(([name, lines]) => `[profiles.${name}]\n${lines}\n`)
  return parseSettings(`[ovfsd_settings]\nsocket_path = "/tmp/s"\n${server}\n${tables.join('')}`, 'f.toml')
}

const A = 'type = "memory"\nmount_point = "a"'
const B = 'type = "memory"\nmount_point = "b"'

describe('the difference of two settings', () => {
  it('is nothing between equals', () => {
    const nothing = {
      added: [],
      removed: [],
      changed: [],
      mountsNeedRestart: [],
      live: [],
      needRestart: [],
      tracing: false,
    }
    const off = 'enabled_cache_expiration = false'
    assert.deepEqual(diffSettings(settings(off, { a: A }), settings(off, { a: A })), nothing)
  })

  it('names mounts added, removed and changed', () => {
    const before = settings('', { a: A, b: B })
    const after = settings('', { b: `${B}\nread_only = true`, c: 'type = "memory"\nmount_point = "c"' })
    const diff = diffSettings(before, after)
    assert.deepEqual(diff.added, [after.mounts[1]])
    assert.deepEqual(diff.removed, [before.mounts[0]])
    assert.deepEqual(diff.changed, [{ before: before.mounts[1], after: after.mounts[0] }])
  })

  it('takes a mount elsewhere for another', () => {
    const before = settings('', { a: A })
    const after = settings('', { a: B })
    const diff = diffSettings(before, after)
    assert.deepEqual(diff.added, after.mounts)
    assert.deepEqual(diff.removed, before.mounts)
    assert.deepEqual(diff.changed, [])
  })

  it('takes another root, bucket or endpoint for another mount', () => {
    const s3 = 'type = "s3"\nmount_point = "a"\nbucket = "b"'
    for (const line of ['root = "/x"', 'endpoint = "http://other"', 'region = "elsewhere"']) {
      const diff = diffSettings(settings('', { a: s3 }), settings('', { a: `${s3}\n${line}` }))
      assert.equal(diff.added.length, 1, line)
      assert.equal(diff.removed.length, 1, line)
      assert.equal(diff.changed.length, 0, line)
    }
  })

  it('takes an access key that may be another tenant for another mount', () => {
    const ceph =
      'type = "s3"\nmount_point = "a"\nbucket = "b"\nendpoint = "http://ceph"\nsecret_access_key = "s"'
    const before = settings('', { a: `${ceph}\naccess_key_id = "A"` })
    const after = settings('', { a: `${ceph}\naccess_key_id = "B"` })
    const diff = diffSettings(before, after)
    assert.deepEqual([diff.added.length, diff.removed.length, diff.changed.length], [1, 1, 0])
  })

  it('takes other credentials and ways to reach a store for a change of the mount', () => {
    const s3 = 'type = "s3"\nmount_point = "a"\nbucket = "b"'
    const lines = [
      'secret_access_key = "s"',
      'session_token = "t"',
      'role_arn = "r"',
      'disable_config_load = true',
    ]
    for (const line of [...lines, 'timeout = "1s"', 'read_only = true', 'uid = 7']) {
      const diff = diffSettings(settings('', { a: s3 }), settings('', { a: `${s3}\n${line}` }))
      assert.equal(diff.changed.length, 1, line)
      assert.equal(diff.added.length + diff.removed.length, 0, line)
    }
  })

  it('leaves what is mounted at the root to a restart', () => {
    const root = 'type = "memory"\nmount_point = "/"'
    const [with1, with2] = [settings('', { a: A, r: root }), settings('', { a: A, r: B })]
    for (const [before, after] of [
      [with1, with2],
      [with2, with1],
      [with1, settings('', { a: A })],
    ] as const) {
      const diff = diffSettings(before, after)
      assert.deepEqual(diff.mountsNeedRestart, ['r'])
      assert.deepEqual([diff.added, diff.removed, diff.changed], [[], [], []])
      assert.deepEqual(
        appliedSettings(before, after, diff)
          .mounts.map(({ name }) => name)
          .sort(),
        before.mounts.map(({ name }) => name).sort(),
      )
    }
    assert.equal(
      diffSettings(with1, settings('', { a: A, r: `${root}\nread_only = true` })).changed.length,
      1,
    )
  })

  it('is what the daemon runs with afterwards, save what needs a restart or failed', () => {
    const before = settings('', { a: A, b: B })
    const after = settings('cache_size = "1GiB"\nlog_level = "debug"', {
      a: `${A}\nuid = 7`,
      b: `${B}\nuid = 7`,
    })
    const applied = appliedSettings(before, after, diffSettings(before, after), ['a'])
    assert.equal(applied.settings.cacheSizeBytes, before.settings.cacheSizeBytes)
    assert.equal(applied.settings.logLevel, 'debug')
    assert.deepEqual(
      applied.mounts.map(({ name, uid }) => [name, uid]),
      [
        ['a', 0],
        ['b', 7],
      ],
    )
  })

  it('tells live settings from those that need a restart', () => {
    const diff = diffSettings(
      settings('', { a: A }),
      settings('log_level = "debug"\ndirty_expire = "1s"\ncache_size = "1GiB"\nsocket_mode = "0660"', {
        a: A,
      }),
    )
    assert.deepEqual([...diff.live].sort(), ['dirtyExpireMs', 'logLevel'])
    assert.deepEqual([...diff.needRestart].sort(), ['cacheSizeBytes', 'socketMode'])
  })

  it('of the global expiry is one of every mount that uses it', () => {
    const own = `${B}\ncache_expiration_time = "1s"`
    const diff = diffSettings(
      settings('', { a: A, b: own }),
      settings('cache_expiration_time = "5s"', { a: A, b: own }),
    )
    assert.deepEqual(
      diff.changed.map(({ after }) => [after.name, after.expirationMs]),
      [['a', 5000]],
    )
    assert.deepEqual(diff.live, ['expirationMs'])
  })
})
