import assert from 'node:assert/strict'
import { describe, it } from 'node:test'
import { ConfigError, parseSettings, type Settings } from '../../../src/config/index.js'

const SERVER = '[ovfsd_settings]\nsocket_path = "/tmp/s"\n'
const MEMORY = '[profiles.m]\ntype = "memory"\nmount_point = "m"\n'

function messages(text: string): string[] {
  try {
    parseSettings(text, 'f.toml')
  } catch (error) {
    if (error instanceof ConfigError) return error.message.split('\n')
    throw error
  }
  return []
}

function profile(lines: string): Settings['mounts'][number] | undefined {
  return parseSettings(`${SERVER}[profiles.p]\n${lines}`, 'f.toml').mounts[0]
}

describe('the command line', () => {
  const SHARED = {
    root: '/srv/${x}',
    guestCache: 'always',
    xattr: true,
    directIo: false,
    announceSubmounts: false,
    readOnly: false,
    posixAcl: false,
    securityLabel: true,
    killprivV2: false,
    allowMmap: false,
    readdirplus: true,
    preserveNoatime: false,
    xattrmap: ':ok:all:${x}::',
    translateUid: 'map:0:1:1',
    fileHandles: 'prefer',
  } as const
  const overrides = { socketPath: '/s', sharedDirectory: SHARED } as const

  it('can stand for a whole file', () => {
    const { settings, mounts } = parseSettings('', 'command line', overrides)
    assert.equal(settings.socketPath, '/s')
    assert.equal(settings.socketMode, 0o700)
    assert.equal(settings.waitForReconnect, false)
    const [mount, ...others] = mounts
    assert.deepEqual(others, [])
    assert.equal(mount?.name, 'shared-dir')
    assert.equal(mount.type, 'passthrough')
    assert.deepEqual(mount.mountPoint, [])
    assert.equal(mount.guestCache, 'always')
    assert.equal(mount.expirationMs, 86_400_000)
    assert.deepEqual(mount.options, {
      ...{ root: '/srv/${x}', xattr: 'true', direct_io: 'false', announce_submounts: 'false' },
      ...{ posix_acl: 'false', security_label: 'true', killpriv_v2: 'false', allow_mmap: 'false' },
      ...{ readdirplus: 'true', preserve_noatime: 'false', xattrmap: ':ok:all:${x}::' },
      translate_uid: 'map:0:1:1',
      inode_file_handles: 'prefer',
    })
  })

  it("puts its directory beside a file's profiles, whichever are enabled", () => {
    const file = `${SERVER}wait_for_reconnect = true\nenabled_services = "memory"\nsocket_mode = "0660"\n${MEMORY}`
    const { settings, mounts } = parseSettings(file, 'f.toml', {
      ...overrides,
      readOnly: true,
      socketMode: 0o770,
    })
    assert.equal(settings.waitForReconnect, true)
    assert.equal(settings.socketMode, 0o770)
    assert.deepEqual(
      mounts.map(({ name, readOnly }) => [name, readOnly]),
      [
        ['shared-dir', true],
        ['m', true],
      ],
    )
  })

  it('needs no path of a socket where there is one already', () => {
    const { settings } = parseSettings(MEMORY, 'f.toml', { socketInherited: true })
    assert.equal(settings.socketPath, '')
  })

  it('leaves the blame for what it meets in the file there', () => {
    const problems = (text: string): string => {
      try {
        parseSettings(text, 'f.toml', overrides)
      } catch (error) {
        if (error instanceof ConfigError) return error.message
        throw error
      }
      return ''
    }
    assert.equal(
      problems('[profiles.m]\ntype = "memory"\nmount_point = "/"\n'),
      'f.toml:3: profiles.m.mount_point: "/" is taken by profiles.shared-dir; give profiles.m another',
    )
    assert.equal(
      problems('[profiles.shared-dir]\ntype = "memory"\nmount_point = "m"\n'),
      'f.toml:1: profiles.shared-dir: has the name that --shared-dir gives its directory; choose another',
    )
  })
})

describe('a pass-through mount', () => {
  const text = (more: string): string =>
    `[ovfsd_settings]\nsocket_path = "/s"\n[profiles.p]\ntype = "passthrough"\nmount_point = "/"\nroot = "/srv"\n${more}`

  it('is believed for a second, unless its profile says otherwise', () => {
    const expiration = (more: string): number | undefined =>
      parseSettings(text(more), 'f.toml').mounts[0]?.expirationMs
    assert.equal(expiration(''), 1000)
    assert.equal(expiration('cache_expiration_time = "5s"'), 5000)
  })

  it('is the same store whatever the guest may do with it', () => {
    const key = (more: string): string | undefined => parseSettings(text(more), 'f.toml').mounts[0]?.storeKey
    assert.equal(key('xattr = true\ndirect_io = true\nannounce_submounts = true'), key(''))
  })
})

describe('the example of the first design', () => {
  const text = `
[ovfsd_settings]
socket_path = "/tmp/vfsd.sock"
enabled_services = "s3,hdfs"
enabled_cache = true
enabled_cache_write_back = false
enabled_cache_expiration = true
cache_expiration_time = "60s"

[profiles.s3]
type = "s3"
mount_point = "s3_fs"
bucket = "<bucket>"
endpoint = "https://s3.amazonaws.com"
access_key_id = "<access_key_id>"
secret_access_key = "<secret_access_key>"

[profiles.swift]
type = "swift"
mount_point = "swift_fs"
endpoint = "https://openstack-controller.example.com:8080/v1/account"
container = "container"
token = "access_token"

[profiles.hdfs]
type = "hdfs"
mount_point = "hdfs_fs"
name_node = "hdfs://127.0.0.1:9000"
`

  it('is accepted, with every default filled in', () => {
    const mount = {
      readOnly: false,
      uid: 0,
      gid: 0,
      fileMode: 0o644,
      dirMode: 0o755,
      keepAttributes: false,
      guestCache: 'auto',
      interpose: null,
      timeoutMs: 30_000,
      circuit: { failures: 5, pauseMs: 1000 },
      expirationMs: 60_000,
    }
    assert.deepEqual(parseSettings(text, 'f.toml'), {
      settings: {
        socketPath: '/tmp/vfsd.sock',
        socketMode: 0o600,
        socketUsers: null,
        socketGroups: null,
        enabledCache: true,
        writeBack: false,
        expirationMs: 60_000,
        cacheSizeBytes: 256 * 1024 * 1024,
        cacheDir: null,
        cacheDirSizeBytes: 10 * 2 ** 30,
        cacheDirDurability: 'host',
        dirtyExpireMs: 5_000,
        dirtyMaxBytes: null,
        requestQueues: 8,
        maxOpenHandles: 1_000_000,
        maxInodes: null,
        pollWindowUs: 50,
        logLevel: 'info',
        guestWriteback: false,
        waitForReconnect: true,
        shutdownTimeoutMs: 60_000,
        reloadGraceMs: 10_000,
        requestMetrics: true,
        metricsAddress: null,
        controlSocket: null,
        accessLog: null,
      },
      mounts: [
        {
          ...mount,
          name: 's3',
          type: 's3',
          mountPoint: ['s3_fs'],
          // Without the credentials.
          storeKey: '["s3",[["bucket","<bucket>"],["endpoint","https://s3.amazonaws.com"]]]',
          formerStoreKey: '["s3",[["bucket","<bucket>"],["endpoint","https://s3.amazonaws.com"]]]',
          options: {
            bucket: '<bucket>',
            endpoint: 'https://s3.amazonaws.com',
            access_key_id: '<access_key_id>',
            secret_access_key: '<secret_access_key>',
          },
        },
        {
          ...mount,
          name: 'hdfs',
          type: 'hdfs',
          mountPoint: ['hdfs_fs'],
          storeKey: '["hdfs",[["name_node","hdfs://127.0.0.1:9000"]]]',
          formerStoreKey: '["hdfs",[["name_node","hdfs://127.0.0.1:9000"]]]',
          options: { name_node: 'hdfs://127.0.0.1:9000' },
        },
      ],
      tracing: null,
      secretFiles: [],
    })
  })

  it('mounts all without enabled_services', () => {
    const all = parseSettings(text.replace(/^enabled_services.*$/m, ''), 'f.toml')
    assert.deepEqual(
      all.mounts.map(({ name }) => name),
      ['s3', 'swift', 'hdfs'],
    )
  })
})

describe('settings', () => {
  it('are read with their units', () => {
    const { settings } = parseSettings(
      `[ovfsd_settings]
       socket_path = "/tmp/s"
       socket_mode = "0660"
       socket_users = "root, 1000"
       socket_groups = "kvm"
       enabled_cache_write_back = true
       enabled_cache_expiration = false
       cache_size = "1GiB"
       cache_dir = "/var/cache/ovfsd"
       cache_dir_size = "20GiB"
       cache_dir_durability = "process"
       guest_writeback = true
       dirty_expire = "1m30s"
       dirty_max = "64MiB"
       max_open_handles = 100
       max_inodes = 2000
       request_queues = 64
       poll_window = "0"
       log_level = "silent"
       wait_for_reconnect = false
       shutdown_timeout = "2m"
       reload_grace = "3s"
       request_metrics = false
       metrics_address = "127.0.0.1:9464"
       control_socket = "/tmp/c"
       access_log = "/tmp/a"
       ${MEMORY}`,
      'f.toml',
    )
    assert.deepEqual(settings, {
      socketPath: '/tmp/s',
      socketMode: 0o660,
      socketUsers: ['root', '1000'],
      socketGroups: ['kvm'],
      enabledCache: true,
      writeBack: true,
      expirationMs: Infinity,
      cacheSizeBytes: 2 ** 30,
      cacheDir: '/var/cache/ovfsd',
      cacheDirSizeBytes: 20 * 2 ** 30,
      cacheDirDurability: 'process',
      dirtyExpireMs: 90_000,
      dirtyMaxBytes: 64 * 2 ** 20,
      requestQueues: 64,
      maxOpenHandles: 100,
      maxInodes: 2000,
      pollWindowUs: 0,
      logLevel: 'silent',
      guestWriteback: true,
      waitForReconnect: false,
      shutdownTimeoutMs: 120_000,
      reloadGraceMs: 3_000,
      requestMetrics: false,
      metricsAddress: { host: '127.0.0.1', port: 9464 },
      controlSocket: '/tmp/c',
      accessLog: '/tmp/a',
    })
  })

  it('round up to the millisecond', () => {
    assert.equal(
      profile('type = "memory"\nmount_point = "m"\ncache_expiration_time = "1500us"')?.expirationMs,
      2,
    )
  })

  it('of a profile are read, and its options become text', () => {
    assert.deepEqual(
      profile(`type = "s3"
        mount_point = "/team/data/"
        read_only = true
        uid = 1000
        gid = 4294967294
        file_mode = "640"
        dir_mode = "0750"
        keep_attributes = true
        guest_cache = "none"
        timeout = "500ms"
        circuit_failures = 0
        circuit_pause = "250ms"
        cache_expiration_time = "0"
        bucket_name = "b"
        enable_virtual_host_style = true
        delete_max_size = 100
      `),
      {
        name: 'p',
        type: 's3',
        mountPoint: ['team', 'data'],
        readOnly: true,
        uid: 1000,
        gid: 0xffff_fffe,
        fileMode: 0o640,
        dirMode: 0o750,
        keepAttributes: true,
        guestCache: 'none',
        timeoutMs: 500,
        circuit: { failures: 0, pauseMs: 250 },
        expirationMs: 0,
        interpose: null,
        storeKey: '["s3",[["bucket","b"]]]',
        formerStoreKey: '["s3",[["bucket","b"]]]',
        options: { bucket: 'b', enable_virtual_host_style: 'true', delete_max_size: '100' },
      },
    )
  })

  it("of a profile's expiry count even where expiry is off", () => {
    const { mounts } = parseSettings(
      `${SERVER}enabled_cache_expiration = false\n${MEMORY}[profiles.n]\ntype = "memory"\nmount_point = "n"\ncache_expiration_time = "5s"`,
      'f.toml',
    )
    assert.deepEqual(
      mounts.map(({ expirationMs }) => expirationMs),
      [Infinity, 5000],
    )
  })

  it('of the command line come first', () => {
    const { settings } = parseSettings(`${SERVER}log_level = "warn"\n${MEMORY}`, 'f.toml', {
      socketPath: '/run/other',
      logLevel: 'trace',
    })
    assert.equal(settings.socketPath, '/run/other')
    assert.equal(settings.logLevel, 'trace')
    assert.equal(parseSettings(MEMORY, 'f.toml', { socketPath: '/run/x' }).settings.socketPath, '/run/x')
  })

  it('select profiles by name as well as by type', () => {
    const text = `${SERVER}enabled_services = " b , s3 "
[profiles.a]
type = "memory"
mount_point = "same"
[profiles.b]
type = "memory"
mount_point = "same"
[profiles.c]
type = "s3"
mount_point = "c"
bucket = "x"`
    assert.deepEqual(
      parseSettings(text, 'f.toml').mounts.map(({ name }) => name),
      ['b', 'c'],
    )
  })
})

describe('problems', () => {
  const cases: readonly (readonly [what: string, text: string, expected: readonly string[]])[] = [
    [
      'an unknown option',
      `${SERVER}[profiles.s3]\ntype = "s3"\nmount_point = "s3"\nbuckett = "b"`,
      ['f.toml:6: profiles.s3.buckett: unknown key; did you mean "bucket"?'],
    ],
    [
      'an unknown option that is like none',
      `${SERVER}${MEMORY}foo = 1`,
      ['f.toml:6: profiles.m.foo: unknown key; the options of memory are "root"'],
    ],
    [
      'a near miss of our own keys where options are not listed',
      `${SERVER}[profiles.g]\ntype = "gcs"\nmount_point = "g"\nbucket = "b"\nreadonly = true\npredefined_acl = "x"`,
      ['f.toml:7: profiles.g.readonly: unknown key; did you mean "read_only"?'],
    ],
    [
      'attributes that the store cannot keep',
      `${SERVER}${MEMORY}keep_attributes = true`,
      [
        'f.toml:6: profiles.m.keep_attributes: is not possible with the type "memory"; only "s3" and "swift" can',
      ],
    ],
    [
      'keys that a pass-through mount has no use for',
      `${SERVER}[profiles.p]\ntype = "passthrough"\nmount_point = "/"\nroot = "srv"\nuid = 0\nkeep_attributes = true\ntimeout = "1s"`,
      [
        'f.toml:6: profiles.p.root: expected the absolute path of a directory such as "/srv/data", found the string "srv"',
        'f.toml:7: profiles.p.uid: has no effect with the type "passthrough", as each file has its own owner and mode there; leave it out',
        'f.toml:8: profiles.p.keep_attributes: has no effect with the type "passthrough", as each file has its own owner and mode there; leave it out',
        'f.toml:9: profiles.p.timeout: has no effect with the type "passthrough", as there is no server to wait for; leave it out',
      ],
    ],
    [
      'access lists where ids are translated',
      `${SERVER}[profiles.p]\ntype = "passthrough"\nmount_point = "/"\nroot = "/srv"\nposix_acl = true\ntranslate_uid = "map:0:1:1"\ntranslate_gid = "map:0:1:1"`,
      [
        'f.toml:8: profiles.p.translate_uid: excludes posix_acl: access lists hold ids',
        'f.toml:9: profiles.p.translate_gid: excludes posix_acl: access lists hold ids',
      ],
    ],
    [
      'an unknown setting',
      `${SERVER}enabled_cahce = true\n${MEMORY}`,
      ['f.toml:3: ovfsd_settings.enabled_cahce: unknown key; did you mean "enabled_cache"?'],
    ],
    [
      'an unknown table',
      `${SERVER}${MEMORY}[profile.x]\ntype = "memory"`,
      ['f.toml:6: profile: unknown table; did you mean [profiles]?'],
    ],
    [
      'a setting outside of its table',
      `socket_path = "/tmp/s"\n${SERVER}${MEMORY}`,
      ['f.toml:1: socket_path: belongs into the table [ovfsd_settings]; write it below that line'],
    ],
    [
      'a wrong type',
      `${SERVER}enabled_cache = "true"\nrequest_queues = "4"\nsocket_mode = 0o600\n${MEMORY}uid = 1.5`,
      [
        'f.toml:3: ovfsd_settings.enabled_cache: expected true or false, found the string "true"; write true without quotes',
        'f.toml:4: ovfsd_settings.request_queues: expected a whole number, found the string "4"; write 4 without quotes',
        'f.toml:5: ovfsd_settings.socket_mode: expected permission bits as an octal number in quotes such as "0644", found the number 384',
        'f.toml:9: profiles.m.uid: expected a whole number, found the number 1.5',
      ],
    ],
    [
      'values out of range',
      `${SERVER}cache_size = "1MiB"\npoll_window = "1s"\nrequest_queues = 0\n${MEMORY}timeout = "1ms"\nfile_mode = "0999"`,
      [
        'f.toml:3: ovfsd_settings.cache_size: 1MiB is out of range; allowed is 16MiB to 1TiB',
        'f.toml:4: ovfsd_settings.poll_window: 1s is out of range; allowed is 0 to 1ms',
        'f.toml:5: ovfsd_settings.request_queues: 0 is out of range; allowed is 1 to 64',
        'f.toml:9: profiles.m.timeout: 1ms is out of range; allowed is 100ms to 1h',
        'f.toml:10: profiles.m.file_mode: "0999" is not a mode; write octal permission bits such as "0644"',
      ],
    ],
    [
      'a duration without unit',
      `${SERVER}cache_expiration_time = 60\n${MEMORY}`,
      ['f.toml:3: ovfsd_settings.cache_expiration_time: a duration needs a unit: write "60s" for 60 seconds'],
    ],
    [
      'missing keys and options',
      '[ovfsd_settings]\n[profiles.s]\ntype = "swift"\nendpoint = ""\n[profiles.n]\nmount_point = "n"\n[profiles.h]\ntype = "hdfs"\nmount_point = "h"',
      [
        'f.toml:1: ovfsd_settings.socket_path: is missing; add socket_path = "/run/ovfsd/ovfsd.sock"',
        'f.toml:2: profiles.s.mount_point: is missing; add mount_point = "data"',
        'f.toml:2: profiles.s.container: is missing; the type "swift" needs "container"',
        'f.toml:4: profiles.s.endpoint: is empty; the type "swift" needs it',
        'f.toml:5: profiles.n.type: is missing; name the service, such as type = "s3"',
        'f.toml:7: profiles.h.name_node: is missing; the type "hdfs" needs "name_node" or "endpoint"',
      ],
    ],
    [
      'two mounts on one path',
      `${SERVER}${MEMORY}[profiles.other]\ntype = "memory"\nmount_point = "/m/"`,
      ['f.toml:8: profiles.other.mount_point: "/m" is taken by profiles.m; give profiles.other another'],
    ],
    [
      'an entry of enabled_services that fits nothing',
      `${SERVER}enabled_services = "memory,s3"\n${MEMORY}`,
      [
        'f.toml:3: ovfsd_settings.enabled_services: "s3" is neither the type nor the name of a profile; write "memory" or "m"',
      ],
    ],
    [
      'an empty enabled_services',
      `${SERVER}enabled_services = ""\n${MEMORY}`,
      [
        'f.toml:3: ovfsd_settings.enabled_services: is empty, so that nothing would be mounted; name types or profiles, or leave the key out to enable all',
      ],
    ],
    [
      'no profile',
      SERVER,
      ['f.toml:1: profiles: there is nothing to mount; add a table such as [profiles.s3]'],
    ],
    [
      'write-back without a cache',
      `${SERVER}enabled_cache = false\nenabled_cache_write_back = true\n${MEMORY}`,
      [
        'f.toml:4: ovfsd_settings.enabled_cache_write_back: needs the cache; set enabled_cache = true, or this to false',
      ],
    ],
    [
      'a syntax error',
      `${SERVER}log_level = warn\n${MEMORY}`,
      ['f.toml:3: not TOML: invalid value (column 13); text goes in quotes, such as name = "value"'],
    ],
    [
      'a key given twice',
      `${SERVER}socket_path = "/tmp/t"\n${MEMORY}`,
      ['f.toml:3: not TOML: trying to redefine an already defined table or value (column 1)'],
    ],
    [
      'an option given twice under two names',
      `${SERVER}[profiles.s]\ntype = "s3"\nmount_point = "s"\nbucket = "b"\naws_bucket = "c"`,
      ['f.toml:7: profiles.s.aws_bucket: sets the same option as "bucket"; keep one of them'],
    ],
    [
      'tables where values belong, and the reverse',
      `ovfsd_settings = 1\n[profiles]\nx = 1\n[profiles.m]\ntype = "memory"\nmount_point = "m"\n[profiles.m.root]\na = 1`,
      [
        'f.toml:1: ovfsd_settings: expected a table [ovfsd_settings], found the number 1',
        'f.toml:1: ovfsd_settings.socket_path: is missing; add socket_path = "/run/ovfsd/ovfsd.sock"',
        'f.toml:3: profiles.x: expected a table [profiles.NAME], found the number 1',
        'f.toml:7: profiles.m.root: expected a string, a number, true or false, found a table',
      ],
    ],
    [
      'an unfit profile name',
      `${SERVER}[profiles."a,b\\n"]\ntype = "memory"\nmount_point = "m"`,
      [
        `f.toml:3: profiles."a,b\\n": a profile's name is 1 to 64 letters, digits, dots, dashes or underscores; rename it`,
      ],
    ],
    [
      'control characters, without breaking the line',
      `${SERVER}${MEMORY}"a\\u001b[1m\\nb" = 1\nuid = "\\u001b[31m"`,
      [
        'f.toml:6: profiles.m."a\\u001b[1m\\nb": unknown key; the options of memory are "root"',
        'f.toml:7: profiles.m.uid: expected a whole number, found the string "\\u001b[31m"',
      ],
    ],
  ]
  for (const [what, text, expected] of cases) {
    it(`name the place and the remedy of ${what}`, () => {
      assert.deepEqual(messages(text), expected)
    })
  }

  it('of a type list what there is', () => {
    const [unknown] = messages(`${SERVER}[profiles.p]\ntype = "s4"\nmount_point = "p"`)
    assert.match(
      unknown ?? '',
      /^f\.toml:4: profiles\.p\.type: "s4" is not a known service; did you mean "s3"\? Known are "fs", "memory", "null", "passthrough", "s3",.* or "yandex-disk"$/,
    )
    for (const type of ['redis', 'etcd', 'sled', 'mini_moka', 'Redis']) {
      const [line] = messages(`${SERVER}[profiles.p]\ntype = "${type}"\nmount_point = "p"`)
      assert.match(line ?? '', /is a key-value store, .* can't be mounted; use a file or object store: "fs"/)
    }
    const [absent] = messages(`${SERVER}[profiles.p]\ntype = "sftp"\nmount_point = "p"`)
    assert.match(absent ?? '', /"sftp" is not part of this daemon's OpenDAL build; known are "fs"/)
  })

  it('never repeat a secret', () => {
    const secret = 'hunter2hunter2'
    const lines = messages(
      `${SERVER}[profiles.s]
type = "s3"
mount_point = "s"
bucket = "b"
token = "${secret}"
session_token = "${secret}"
secret_access_key = ["${secret}"]
access_key_idd = "${secret}"
sas_token = "${secret}"`,
    )
    assert.equal(lines.length, 4)
    assert.ok(!lines.join().includes(secret), lines.join('\n'))
    const syntax = messages(`${SERVER}[profiles.s]\nsecret_access_key = ${secret}\n`)
    assert.equal(syntax.length, 1)
    assert.ok(!syntax.join().includes(secret), syntax.join('\n'))
  })

  it('of a profile that is not enabled count too, save for what may be missing', () => {
    assert.deepEqual(
      messages(
        `${SERVER}enabled_services = "m"\n${MEMORY}[profiles.s]\ntype = "s3"\nmount_point = "m"\nregin = "x"`,
      ),
      ['f.toml:10: profiles.s.regin: unknown key; did you mean "region"?'],
    )
  })

  it('do not come from names that every object has', () => {
    const [line] = messages(`${SERVER}${MEMORY}constructor = 1\ntoString = 1`)
    assert.match(line ?? '', /constructor: unknown key/)
    const [type] = messages(`${SERVER}[profiles.__proto__]\ntype = "constructor"\nmount_point = "p"`)
    assert.match(type ?? '', /profiles\.__proto__\.type: "constructor" is not a known service/)
  })
})
