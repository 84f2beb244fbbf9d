/** The daemon, as a process of its own, follows its configuration file and the files and signals that belong to it. */
import assert from 'node:assert/strict'
import { execFileSync } from 'node:child_process'
import { once } from 'node:events'
import {
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  symlinkSync,
  unlinkSync,
  writeFileSync,
} from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { describe, it, type TestContext } from 'node:test'
import { pathsLeadingTo } from '../../../src/cli/config-watcher.js'
import { MAIN, Program } from '../../lib/cli/process.js'
import { Daemon } from '../../frontend/daemon.js'
import { codeOf } from '../../frontend/fuse-client.js'
import { GuestFs } from '../../frontend/guest-fs.js'

const RELOADED = '"configuration reloaded"'
const FAULTS = '"configuration not reloaded: it has faults, and nothing was changed"'

function profile(name: string, lines = 'type = "memory"'): string {
  return `[profiles.${name}]\nmount_point = "${name}"\n${lines}\n`
}

/** A daemon, the directory its configuration is in, and a guest that uses mount "m" meanwhile. */
class Reloading {
  readonly directory: string
  readonly daemon: Daemon
  #socketPath = ''

  constructor(
    t: TestContext,
    start: (reloading: Reloading, text: string) => string,
    lines?: string,
    command = (file: string): string[] => [process.execPath, MAIN, `--config-file=${file}`],
  ) {
    this.directory = mkdtempSync(join(tmpdir(), 'ovfsd-reload-files-'))
    this.daemon = new Daemon((socketPath) => {
      this.#socketPath = socketPath
      const file = start(this, this.text(profile('m'), lines))
      return command(file)
    })
    t.after(async () => {
      const code = await this.daemon.stop()
      rmSync(this.directory, { recursive: true, force: true })
      assert.equal(code, 0, this.daemon.stderr)
      assert.ok(!this.daemon.stderr.includes('a defect of ours'), this.daemon.stderr)
    })
  }

  text(profiles: string, lines = ''): string {
    return `[ovfsd_settings]\nsocket_path = "${this.#socketPath}"\n${lines}\n${profiles}`
  }

  path(...names: string[]): string {
    return join(this.directory, ...names)
  }

  /** Resolves when standard error holds `text` this often. */
  async says(text: string, times = 1): Promise<void> {
    const { process: child } = this.daemon
    while (this.count(text) < times) {
      assert.ok(this.daemon.running && child.stderr !== null, this.daemon.stderr)
      await Promise.race([once(child.stderr, 'data'), once(child, 'exit')])
    }
  }

  count(text: string): number {
    return this.daemon.stderr.split(text).length - 1
  }
}

function inPlace(reloading: Reloading, text: string): string {
  const file = reloading.path('ovfsd.toml')
  writeFileSync(file, text)
  return file
}

function byRename(reloading: Reloading, text: string): string {
  const file = reloading.path('ovfsd.toml')
  writeFileSync(`${file}.new`, text)
  renameSync(`${file}.new`, file)
  return file
}

let versions = 0

/** As the kubelet updates a ConfigMap's volume. */
function bySwap(reloading: Reloading, text: string): string {
  const version = `..version_${++versions}`
  mkdirSync(reloading.path(version))
  writeFileSync(reloading.path(version, 'ovfsd.toml'), text)
  symlinkSync(version, reloading.path('..data_tmp'))
  renameSync(reloading.path('..data_tmp'), reloading.path('..data'))
  const file = reloading.path('ovfsd.toml')
  rmSync(file, { force: true })
  symlinkSync('..data/ovfsd.toml', file)
  return file
}

function swapAgain(reloading: Reloading, text: string): void {
  const version = `..version_${++versions}`
  mkdirSync(reloading.path(version))
  writeFileSync(reloading.path(version, 'ovfsd.toml'), text)
  symlinkSync(version, reloading.path('..data_tmp'))
  renameSync(reloading.path('..data_tmp'), reloading.path('..data'))
  rmSync(reloading.path(`..version_${versions - 1}`), { recursive: true, force: true })
}

describe('a configuration file that is saved', () => {
  for (const [how, start, save] of [
    ['in place', inPlace, inPlace],
    ['by a rename', byRename, byRename],
    ['by swapping a symbolic link, as a ConfigMap', bySwap, swapAgain],
  ] as const) {
    it(`is loaded again: ${how}`, async (t) => {
      const reloading = new Reloading(t, start)
      const client = await reloading.daemon.mount()
      t.after(() => {
        client.close()
      })
      const files = new GuestFs(client, { base: 'm' })
      await files.writeFile('kept', 'data')
      // More than once: what is watched may be gone after the first time.
      for (let round = 1; round <= 3; round++) {
        save(reloading, reloading.text(profile('m') + profile(`added${round}`)))
        await reloading.says(RELOADED, round)
        await new GuestFs(client, { base: `added${round}` }).writeFile('x', 'y')
        if (round > 1) assert.equal(await codeOf(client.lookup(1, `added${round - 1}`)), 'ENOENT')
        assert.equal(await files.readText('kept'), 'data')
      }
    })
  }

  it('changes nothing when it has faults, and is told in one line', async (t) => {
    const reloading = new Reloading(t, inPlace)
    const client = await reloading.daemon.mount()
    t.after(() => {
      client.close()
    })
    inPlace(reloading, reloading.text(profile('m', 'type = "memori"') + 'nonsense = 1'))
    await reloading.says(FAULTS)
    assert.match(reloading.daemon.stderr, /ovfsd.toml:\d+: profiles.m.type: .*memory/)
    await new GuestFs(client, { base: 'm' }).writeFile('x', 'y')
    inPlace(reloading, reloading.text(profile('m') + profile('good')))
    await reloading.says(RELOADED)
    await new GuestFs(client, { base: 'good' }).writeFile('x', 'y')
    assert.equal(reloading.count(FAULTS), 1)
  })

  it('takes over settings, and names those that need a restart', async (t) => {
    const reloading = new Reloading(t, inPlace)
    await reloading.says('Waiting for vhost-user')
    const root = profile('whole').replace('mount_point = "whole"', 'mount_point = "/"')
    const lines = 'log_level = "debug"\nreload_grace = "1s"\ncache_size = "32MiB"'
    inPlace(reloading, reloading.text(profile('m') + root, lines))
    await reloading.says('need a restart')
    assert.match(reloading.daemon.stderr, /"settings":\["log_level","reload_grace"\]/)
    assert.match(reloading.daemon.stderr, /"keys":\["cache_size","profiles.whole.mount_point"\]/)
  })

  it('is loaded on SIGHUP, which always has an answer', async (t) => {
    const reloading = new Reloading(t, inPlace)
    await reloading.says('Waiting for vhost-user')
    for (let round = 1; round <= 2; round++) {
      reloading.daemon.process.kill('SIGHUP')
      await reloading.says(RELOADED, round)
    }
    assert.match(reloading.daemon.stderr, /"cause":"SIGHUP"/)
  })
})

describe('a configuration file that is replaced by something else', () => {
  for (const [what, replace, reason] of [
    ['a pipe', (path: string) => execFileSync('mkfifo', [path]), /it is a pipe; name a file/],
    [
      'an endless device',
      (path: string) => {
        symlinkSync('/dev/zero', path)
      },
      /it is a device or socket; name a file/,
    ],
    [
      'a directory',
      (path: string) => {
        mkdirSync(path)
      },
      /it is a directory; name a file/,
    ],
    ['nothing', () => undefined, /there is no such file/],
    [
      'a file without end',
      (path: string) => {
        writeFileSync(path, '#'.repeat(1024 * 1024 + 1))
      },
      /it is larger than 1MiB/,
    ],
  ] as const) {
    it(`is refused in one line, and the daemon goes on: ${what}`, async (t) => {
      const reloading = new Reloading(t, inPlace)
      const client = await reloading.daemon.mount()
      t.after(() => {
        client.close()
      })
      const file = reloading.path('ovfsd.toml')
      const text = readFileSync(file, 'utf8')
      unlinkSync(file)
      replace(file)
      await reloading.says(FAULTS)
      assert.match(reloading.daemon.stderr, reason)
      await new GuestFs(client, { base: 'm' }).writeFile('x', 'y')
      rmSync(file, { recursive: true, force: true })
      writeFileSync(file, text + profile('after'))
      await reloading.says(RELOADED)
      await new GuestFs(client, { base: 'after' }).writeFile('x', 'y')
    })
  }

  it('is seen when its directory was deleted and made again', async (t) => {
    const reloading = new Reloading(t, (self, text) => {
      mkdirSync(self.path('etc', 'ovfsd'), { recursive: true })
      writeFileSync(self.path('etc', 'ovfsd', 'ovfsd.toml'), text)
      return self.path('etc', 'ovfsd', 'ovfsd.toml')
    })
    await reloading.says('Waiting for vhost-user')
    const file = reloading.path('etc', 'ovfsd', 'ovfsd.toml')
    for (const round of [1, 2]) {
      rmSync(reloading.path('etc'), { recursive: true })
      await reloading.says(FAULTS, round)
      mkdirSync(reloading.path('etc'))
      mkdirSync(reloading.path('etc', 'ovfsd'))
      writeFileSync(file, reloading.text(profile('m') + profile(`again${round}`)))
      await reloading.says(RELOADED, round)
    }
  })

  it('is read from a pipe when the daemon starts, and then left alone', async (t) => {
    const reloading = new Reloading(
      t,
      (self, text) => {
        writeFileSync(self.path('text'), text)
        writeFileSync(
          self.path('start'),
          `exec ${process.execPath} ${MAIN} --config-file=<(cat ${self.path('text')})\n`,
        )
        return self.path('start')
      },
      '',
      (script) => ['bash', script],
    )
    const client = await reloading.daemon.mount()
    t.after(() => {
      client.close()
    })
    reloading.daemon.process.kill('SIGHUP')
    await reloading.says('SIGHUP changes nothing')
    await new GuestFs(client, { base: 'm' }).writeFile('x', 'y')
  })
})

describe('a mount that becomes writable', () => {
  it('has what an earlier daemon had staged, and stages what is closed', async (t) => {
    const directory = mkdtempSync(join(tmpdir(), 'ovfsd-writable-'))
    t.after(() => {
      rmSync(directory, { recursive: true, force: true })
    })
    const [root, cacheDir, file] = [
      join(directory, 'root'),
      join(directory, 'cache'),
      join(directory, 'c.toml'),
    ]
    mkdirSync(root)
    writeFileSync(join(root, 'old'), 'old')
    const save = (socketPath: string, isReadOnly: boolean): void => {
      const head = `[ovfsd_settings]\nsocket_path = "${socketPath}"\nenabled_cache_write_back = true`
      const cache = `dirty_expire = "1h"\ncache_dir = "${cacheDir}"\ncache_dir_size = "64MiB"`
      const mount = `type = "fs"\nroot = "${root}"\nread_only = ${isReadOnly}`
      writeFileSync(`${file}.new`, `${head}\n${cache}\n${profile('m', mount)}`)
      renameSync(`${file}.new`, file)
    }
    const start = (isReadOnly: boolean): Daemon =>
      new Daemon((socketPath) => {
        save(socketPath, isReadOnly)
        return [process.execPath, MAIN, `--config-file=${file}`]
      })
    const killed = start(false)
    const first = await killed.mount()
    await new GuestFs(first, { base: 'm' }).writeFile('old', 'newer')
    killed.process.kill('SIGKILL')
    await once(killed.process, 'exit')
    first.close()
    assert.equal(readFileSync(join(root, 'old'), 'utf8'), 'old')

    const daemon = start(true)
    t.after(() => daemon.stop())
    const client = await daemon.mount()
    t.after(() => {
      client.close()
    })
    const files = new GuestFs(client, { base: 'm' })
    assert.equal(await files.readText('old'), 'old')
    assert.equal(await codeOf(files.writeFile('x', 'y')), 'EROFS')
    const reloaded = new Promise<void>((resolve) => {
      daemon.process.stderr?.on('data', () => {
        if (daemon.stderr.includes(RELOADED)) resolve()
      })
    })
    save(daemon.socketPath, false)
    await reloaded
    assert.equal(await files.readText('old'), 'newer')
    const stagedBefore = stagedFiles(cacheDir)
    await files.writeFile('precious', 'data')
    assert.ok(stagedFiles(cacheDir) > stagedBefore)
  })
})

function stagedFiles(cacheDir: string): number {
  return readdirSync(join(cacheDir, 'staged'), { recursive: true, withFileTypes: true }).filter((entry) =>
    entry.isFile(),
  ).length
}

describe('secrets from elsewhere', () => {
  it('are followed when their file changes, and never told', async (t) => {
    const s3 = (name: string): string =>
      'type = "s3"\nbucket = "b"\nsecret_access_key_file = ' + JSON.stringify(name)
    const reloading = new Reloading(t, (self) => {
      writeFileSync(self.path('secret'), 'first-of-secrets\n')
      return inPlace(self, self.text(profile('m') + profile('s3', s3(self.path('secret')))))
    })
    await reloading.says('Waiting for vhost-user')
    writeFileSync(reloading.path('secret'), 'second-of-secrets\n')
    await reloading.says(RELOADED)
    assert.match(reloading.daemon.stderr, /"changed":\["s3"\]/)
    writeFileSync(reloading.path('new'), 'third-of-secrets\n')
    renameSync(reloading.path('new'), reloading.path('secret'))
    await reloading.says(RELOADED, 2)
    unlinkSync(reloading.path('secret'))
    await reloading.says(FAULTS)
    assert.match(
      reloading.daemon.stderr,
      /secret_access_key_file: names a file that can't be read: there is no such file/,
    )
    assert.doesNotMatch(reloading.daemon.stderr, /of-secrets/)
  })
})

describe('a configuration that was refused for a missing secret', () => {
  it('is taken over when the secret comes, wherever its directory was', async (t) => {
    const reloading = new Reloading(t, inPlace)
    await reloading.says('Waiting for vhost-user')
    const secret = reloading.path('run', 'secrets', 'token')
    const s3 = `type = "s3"\nbucket = "b"\nsecret_access_key_file = ${JSON.stringify(secret)}`
    inPlace(reloading, reloading.text(profile('m') + profile('s3', s3)))
    await reloading.says(FAULTS)
    mkdirSync(reloading.path('run', 'secrets'), { recursive: true })
    writeFileSync(secret, 'the-secret\n')
    await reloading.says(RELOADED)
    assert.match(reloading.daemon.stderr, /"added":\["s3"\]/)
  })
})

describe('--check --connect', () => {
  it('tells of each mount whether its storage can be reached', async (t) => {
    const directory = mkdtempSync(join(tmpdir(), 'ovfsd-connect-'))
    t.after(() => {
      rmSync(directory, { recursive: true, force: true })
    })
    writeFileSync(join(directory, 'file'), '')
    const check = async (profiles: string): Promise<{ code: number | null; stdout: string }> => {
      const file = join(directory, 'ovfsd.toml')
      writeFileSync(file, `[ovfsd_settings]\nsocket_path = "/tmp/s"\n${profiles}`)
      return await new Program(MAIN, [`--config-file=${file}`, '--check', '--connect']).outcome()
    }
    const good = profile('a') + profile('b', `type = "fs"\nroot = ${JSON.stringify(directory)}`)
    const fine = await check(good)
    assert.deepEqual([fine.code, fine.stdout], [0, 'a (memory) at /a: ok\nb (fs) at /b: ok\n'])
    // Port 1 of loopback refuses at once.
    const options = 'bucket = "b"\nendpoint = "http://127.0.0.1:1"\nregion = "r"\naccess_key_id = "k"'
    const away = profile(
      'away',
      `type = "s3"\ntimeout = "5s"\n${options}\nsecret_access_key = "hunter2hunter2"`,
    )
    const blocked = profile('blocked', `type = "fs"\nroot = ${JSON.stringify(join(directory, 'file'))}`)
    const bad = await check(good + away + blocked)
    assert.equal(bad.code, 1)
    const lines = bad.stdout.trimEnd().split('\n')
    assert.equal(lines.length, 4)
    assert.match(lines[2] ?? '', /^away \(s3\) at \/away: E[A-Z]+: ./)
    assert.match(lines[3] ?? '', /^blocked \(fs\) at \/blocked: E[A-Z]+: ./)
    assert.doesNotMatch(bad.stdout, /hunter2/)
  })
})

describe('the paths that lead to a file', () => {
  it('are every link on the way, in directories without links', (t) => {
    const directory = mkdtempSync(join(tmpdir(), 'ovfsd-paths-'))
    t.after(() => {
      rmSync(directory, { recursive: true, force: true })
    })
    const at = (...names: string[]): string => join(directory, ...names)
    mkdirSync(at('real'))
    writeFileSync(at('real', 'file'), '')
    symlinkSync('real', at('data'))
    symlinkSync('data/file', at('link'))
    symlinkSync('loop', at('loop'))
    assert.deepEqual(pathsLeadingTo(at('real', 'file')), [at('real', 'file')])
    assert.deepEqual(pathsLeadingTo(at('link')), [at('link'), at('data'), at('real', 'file')])
    assert.deepEqual(pathsLeadingTo(at('data', 'missing')), [at('data'), at('real', 'missing')])
    assert.ok(pathsLeadingTo(at('loop')).includes(at('loop')))
  })
})
