/** virtiofsd's command line: as the programs that start it write it, and what becomes of each option. */
import assert from 'node:assert/strict'
import { describe, it } from 'node:test'
import { parseArguments, UsageError, type RunArguments } from '../../../src/cli/arguments.js'

/** What a shared directory is without further options. */
const PLAIN = {
  ...{ guestCache: 'auto', xattr: false, directIo: false, announceSubmounts: true, readOnly: false },
  ...{ posixAcl: false, securityLabel: false, killprivV2: false, allowMmap: false },
  ...{ readdirplus: true, preserveNoatime: false, fileHandles: 'prefer' },
}

function run(...args: readonly string[]): RunArguments {
  const command = parseArguments(args)
  assert.equal(command.kind, 'run')
  return command
}

/** With what every call needs. */
function shared(...args: readonly string[]): RunArguments {
  return run('--shared-dir=/srv', '--socket-path=/s', ...args)
}

describe("a starter's arguments", () => {
  it("are understood from Kata's runtime in Go", () => {
    const args = ['--syslog', '--cache=auto', '--shared-dir=/run/kata-containers/shared/sandboxes/1/shared']
    assert.deepEqual(run(...args, '--fd=3', '--thread-pool-size=1', '--announce-submounts'), {
      kind: 'run',
      overrides: {
        socketInherited: true,
        sharedDirectory: {
          root: '/run/kata-containers/shared/sandboxes/1/shared',
          ...PLAIN,
          announceSubmounts: true,
        },
      },
      socketFd: 3,
      syslog: true,
      threadPoolSize: 1,
      remarks: [],
    })
  })

  it('are understood with --inode-file-handles and a configuration as extra arguments', () => {
    const { overrides, ...rest } = run(
      ...['--syslog', '--cache=never', '--shared-dir=/shared', '--fd=3', '--inode-file-handles=prefer'],
      '--config-file=/etc/ovfsd.toml',
    )
    assert.equal(overrides.sharedDirectory?.guestCache, 'none')
    assert.equal(rest.configFile, '/etc/ovfsd.toml')
    assert.deepEqual(rest.remarks, [])
  })

  it("are understood from Kata's runtime in Rust", () => {
    const socketPath = '/run/kata/1/root/virtiofsd.sock'
    const args = [
      '--socket-path',
      socketPath,
      '--shared-dir',
      '/run/kata-containers/shared/ro',
      '--cache',
      'auto',
    ]
    const expected = {
      kind: 'run',
      overrides: { socketPath, sharedDirectory: { root: '/run/kata-containers/shared/ro', ...PLAIN } },
    }
    assert.deepEqual(run(...args, '--thread-pool-size=1', '-o', 'announce_submounts'), {
      ...expected,
      overrides: {
        ...expected.overrides,
        sharedDirectory: { ...expected.overrides.sharedDirectory, announceSubmounts: true },
      },
      threadPoolSize: 1,
      remarks: [],
    })
    const newer = ['--sandbox', 'none', '--seccomp', 'none', '--inode-file-handles', 'never', '--xattr']
    assert.deepEqual(run(...args, ...newer), {
      ...expected,
      overrides: {
        ...expected.overrides,
        sharedDirectory: { ...expected.overrides.sharedDirectory, xattr: true, fileHandles: 'never' },
      },
      sandbox: 'none',
      seccomp: 'none',
      remarks: [],
    })
  })

  it('are understood from libvirt', () => {
    const list = 'source=/srv/a,,b,cache=always,sandbox=chroot,xattr,no_flock,no_posix_lock'
    assert.deepEqual(run('--fd=25', '-o', list, '--thread-pool-size=16', '-d'), {
      kind: 'run',
      overrides: {
        socketInherited: true,
        logLevel: 'debug',
        sharedDirectory: { ...PLAIN, root: '/srv/a,b', guestCache: 'always', xattr: true },
      },
      socketFd: 25,
      sandbox: 'chroot',
      threadPoolSize: 16,
      remarks: [],
    })
  })

  it('are understood from a person, as in the manuals of both daemons', () => {
    assert.deepEqual(run('--socket-path=/s', '-osource=/srv', '-o', 'cache=none,writeback', '-f'), {
      kind: 'run',
      overrides: {
        socketPath: '/s',
        guestWriteback: true,
        sharedDirectory: { ...PLAIN, root: '/srv', guestCache: 'none' },
      },
      remarks: [],
    })
    const { overrides } = run(
      '--shared-dir',
      'here',
      '--socket',
      '/s',
      '--socket-group=kvm',
      '--log-level',
      'off',
    )
    assert.equal(overrides.sharedDirectory?.root, `${process.cwd()}/here`)
    assert.equal(overrides.socketMode, 0o770)
    assert.equal(overrides.logLevel, 'silent')
  })
})

describe('without an option', () => {
  /** virtiofsd 1.13: what is so without an option, and how that is asked for. */
  const DEFAULTS: readonly (readonly string[])[] = [
    ['--cache=auto'],
    ['--announce-submounts'],
    ['--no-killpriv-v2'],
    ['--thread-pool-size=0'],
    ['--posix-acl=never'],
    ['--migration-mode=find-paths'],
    ['--migration-on-error=abort'],
    ...[
      'no_xattr',
      'no_writeback',
      'no_allow_direct_io',
      'no_posix_acl',
      'no_security_label',
      'readdirplus',
    ].map((name) => ['-o', name]),
  ]
  for (const args of DEFAULTS) {
    it(`all is as with ${args.join(' ')}`, () => {
      assert.deepEqual({ ...shared(...args), remarks: [] }, shared())
    })
  }

  /** What is so only with an option. */
  const OTHERS: readonly (readonly string[])[] = [
    ...['always', 'never', 'metadata'].map((policy) => [`--cache=${policy}`]),
    ...['no-announce-submounts', 'killpriv-v2', 'xattr', 'posix-acl', 'security-label', 'writeback'].map(
      (name) => [`--${name}`],
    ),
    ...['allow-direct-io', 'allow-mmap', 'no-readdirplus', 'preserve-noatime', 'readonly', 'syslog'].map(
      (name) => [`--${name}`],
    ),
    ['--xattrmap=:ok:all:::'],
    ['--translate-uid=map:0:1:1'],
    ['--translate-gid=map:0:1:1'],
    ['--thread-pool-size=1'],
    ['--rlimit-nofile=0'],
    ['--log-level=debug'],
    ...['chroot', 'none'].map((kind) => [`--sandbox=${kind}`]),
    ...['log', 'trap', 'none'].map((action) => [`--seccomp=${action}`]),
    ['--modcaps=-mknod'],
  ]
  for (const args of OTHERS) {
    it(`something is other than with ${args.join(' ')}`, () => {
      assert.notDeepEqual(shared(...args), shared())
    })
  }
})

describe('an option of virtiofsd', () => {
  it('is taken as it was given last', () => {
    const { overrides } = shared('--cache=never', '-o', 'cache=always,xattr,no_xattr,writeback,no_writeback')
    assert.deepEqual(overrides, {
      socketPath: '/s',
      sharedDirectory: { root: '/srv', ...PLAIN, guestCache: 'always' },
    })
    assert.equal(shared('--sandbox=chroot', '--sandbox=none').sandbox, 'none')
  })

  it('reaches the settings', () => {
    const { sandbox, seccomp, modcaps } = shared(
      '--sandbox=chroot',
      '--seccomp=log',
      '-omodcaps=+lease:-chown',
    )
    assert.deepEqual([sandbox, seccomp, modcaps], ['chroot', 'log', '+lease:-chown'])
    const { overrides, rlimitNofile } = shared(
      ...['--readonly', '--xattr', '--writeback', '--allow-direct-io', '--rlimit-nofile=4096'],
    )
    assert.deepEqual(overrides, {
      socketPath: '/s',
      readOnly: true,
      guestWriteback: true,
      sharedDirectory: { ...PLAIN, root: '/srv', xattr: true, directIo: true, readOnly: true },
    })
    assert.equal(rlimitNofile, 4096)
  })

  const idle: readonly (readonly [readonly string[], string])[] = [
    [['--tag=fs'], '--tag has no effect: the hypervisor gives the device its tag'],
    [['-o', 'timeout=5'], '--timeout has no effect: --cache says how long the guest keeps attributes'],
    [
      ['--migration-mode=find-paths'],
      '--migration-mode has no effect: the device takes no part in migration',
    ],
  ]
  for (const [args, remark] of idle) {
    it(`is explained where it has no effect: ${args.join(' ')}`, () => {
      assert.deepEqual(shared(...args).remarks, [remark])
    })
  }

  for (const args of [
    ['--sandbox=none'],
    ['--seccomp=none'],
    ['--posix-acl=never'],
    ['--no-killpriv-v2'],
    ['-f'],
  ]) {
    it(`needs no word where it asks for what is so: ${args.join(' ')}`, () => {
      assert.deepEqual(shared(...args).remarks, [])
    })
  }

  for (const args of [
    ['--posix-acl'],
    ['--posix-acl=always'],
    ['--security-label'],
    ['-o', 'posix_acl,security_label'],
  ]) {
    it(`implies --xattr as it does for virtiofsd: ${args.join(' ')}`, () => {
      assert.equal(shared(...args).overrides.sharedDirectory?.xattr, true)
    })
  }

  it('that is for the shared directory reaches its profile', () => {
    const given: readonly (readonly [readonly string[], Readonly<Record<string, unknown>>])[] = [
      [['--cache=metadata'], { guestCache: 'metadata' }],
      [['--posix-acl'], { posixAcl: true, xattr: true }],
      [['--posix-acl', '-o', 'no_posix_acl'], {}],
      [['--security-label=auto'], { securityLabel: true, xattr: true }],
      [['--killpriv-v2'], { killprivV2: true }],
      [['--killpriv-v2', '--no-killpriv-v2'], {}],
      [['--allow-mmap'], { allowMmap: true }],
      [['--inode-file-handles=never'], { fileHandles: 'never' }],
      [['--inode-file-handles=fallback'], {}],
      [['--inode-file-handles=mandatory'], { fileHandles: 'mandatory' }],
      [['--no-readdirplus'], { readdirplus: false }],
      [['-o', 'no_readdirplus,readdirplus'], {}],
      [['--preserve-noatime'], { preserveNoatime: true }],
      [['-o', 'xattrmap=:map::user.virtiofs.:'], { xattrmap: ':map::user.virtiofs.:', xattr: true }],
      [
        ['--translate-uid=map:0:1000:1', '--translate-uid', 'forbid-guest:7:1', '--translate-gid=host:5:6:1'],
        { translateUid: 'map:0:1000:1 forbid-guest:7:1', translateGid: 'host:5:6:1' },
      ],
      [['--no-announce-submounts'], { announceSubmounts: false }],
    ]
    for (const [args, expected] of given)
      assert.deepEqual(
        shared(...args).overrides.sharedDirectory,
        { root: '/srv', ...PLAIN, ...expected },
        args.join(' '),
      )
  })

  it('that says who owns what is refused without the directory that it is about', () => {
    for (const option of ['--translate-uid=map:0:1:1', '--translate-gid=map:0:1:1', '--xattrmap=:ok:all:::'])
      assert.throws(() => run('--config-file=a.toml', option), UsageError)
  })

  it('--posix-acl=never implies nothing', () => {
    assert.equal(shared('--posix-acl=never').overrides.sharedDirectory?.xattr, false)
  })

  it('that is about the shared directory is explained without one', () => {
    assert.deepEqual(run('--config-file=a.toml', '--cache=auto', '--xattr').remarks, [
      '--cache has no effect: it is about --shared-dir, which is not given',
      '--xattr has no effect: it is about --shared-dir, which is not given',
    ])
  })

  const bad: readonly (readonly [readonly string[], string])[] = [
    [['--cahce=auto'], 'unknown option "--cahce"; did you mean "--cache"?'],
    [['--sharedir=/x'], 'unknown option "--sharedir"; did you mean "--shared-dir"?'],
    [['--no-writeback'], 'unknown option "--no-writeback"; did you mean "--writeback"?'],
    [['--o=xattr'], 'unknown option "--o"'],
    [['--d'], 'unknown option "--d"; did you mean "--fd"?'],
    [['-o'], '-o needs a value: -o ...'],
    [['-o', 'sorce=/x'], '-o: unknown option "sorce"; did you mean "source"?'],
    [['-o', 'no-xattr'], '-o: unknown option "no-xattr"; did you mean "no_xattr"?'],
    [['-o', 'constructor'], '-o: unknown option "constructor"'],
    [['-o', 'cache'], '-o: "cache" needs a value: cache=...'],
    [['-o', 'xattr=1'], '-o: "xattr" takes no value'],
    [
      ['-o', 'cache=some'],
      '-o: cache: expected "auto", "always", "never", "none" or "metadata", found "some"',
    ],
    [['--modcaps=sys_admin'], '--modcaps: expected +NAME or -NAME, separated by colons, found "sys_admin"'],
    [['--sandbox=jail'], '--sandbox: expected "namespace", "chroot" or "none", found "jail"'],
    [['--seccomp=on'], '--seccomp: expected "none", "kill", "log" or "trap", found "on"'],
    [['--thread-pool-size=many'], '--thread-pool-size: expected a whole number of 0 to 1023, found "many"'],
    [
      ['-o', 'flock'],
      "-o: flock: is not supported: locks are kept by the guest's kernel and not shared with the host",
    ],
    [
      ['--translate-uid=map:0:1:1', '--posix-acl'],
      '--translate-uid and --translate-gid exclude --posix-acl: access lists hold ids',
    ],
    [['--translate-gid=map:0:1'], '--translate-gid: map:0:1 has too few or too many fields'],
    [['--rlimit-nofile=-1'], '--rlimit-nofile: expected a whole number of 0 to 2147483647, found "-1"'],
    [['--fd=0'], '--fd: expected a whole number of 3 to 2147483647, found "0"'],
    [['--fd=3'], '--fd and --socket-path exclude each other'],
    [['--tag', 'x'.repeat(37)], '--tag: is longer than the 36 bytes of a tag'],
    [['--readonly=yes'], '--readonly takes no value'],
    [['--xattrmap=:map::user.'], '--xattrmap: rule 1 has no end'],
    [['--uid-map=0:1:2'], '--uid-map: expected :INSIDE:OUTSIDE:COUNT:, found "0:1:2"'],
    [['--gid-map=:0:1:0:'], '--gid-map: expected :INSIDE:OUTSIDE:COUNT:, found ":0:1:0:"'],
    [['--gid-map=:0:1,2:'], '--gid-map: expected :INSIDE:OUTSIDE:COUNT:, found ":0:1,2:"'],
    [['--uid-map=:1:0:4294967295:'], '--uid-map: ":1:0:4294967295:" goes beyond the last id'],
    [['--uid-map=:0:1:2:', '--sandbox=chroot'], '--uid-map and --gid-map need --sandbox=namespace'],
    [['--daemonize'], '--daemonize: is not supported: the daemon stays in the foreground'],
  ]
  for (const [args, message] of bad) {
    it(`is refused: ${args.join(' ').slice(0, 50)}`, () => {
      assert.throws(() => shared(...args), new UsageError(message))
    })
  }

  it('that says where to listen must be there', () => {
    assert.throws(() => run('--shared-dir=/x'), new UsageError('--socket-path=PATH is missing, or --fd=N'))
    assert.throws(
      () => run('--shared-dir=/x', '--fd=3', '--socket-group=kvm'),
      new UsageError('--fd and --socket-group exclude each other: the socket is there already'),
    )
  })
})
