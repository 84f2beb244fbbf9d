/** What lies in packaging/, as the programs that read it do. */
import assert from 'node:assert/strict'
import { execFile, execFileSync, spawnSync } from 'node:child_process'
import {
  appendFileSync,
  chmodSync,
  existsSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { describe, it, type TestContext } from 'node:test'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import { parse as parseToml } from 'smol-toml'
import { parseArguments } from '../../../src/cli/arguments.js'

// dist/test/unit/packaging/ -> the package's root
const root = fileURLToPath(new URL('../../../../', import.meta.url))
const packaging = join(root, 'packaging')
const COMMAND = '/usr/local/bin/ovfsd'

function read(file: string): string {
  return readFileSync(join(packaging, file), 'utf8')
}

function temporaryDirectory(test: TestContext): string {
  const directory = mkdtempSync(join(tmpdir(), 'ovfsd-packaging-'))
  test.after(() => {
    rmSync(directory, { recursive: true })
  })
  return directory
}

it('is all listed in its README, and shipped', () => {
  const files = readdirSync(packaging, { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile() && entry.name !== 'README.md')
    .map((entry) => join(entry.parentPath, entry.name).slice(packaging.length + 1))
  const listed = [...read('README.md').matchAll(/`([a-z]+\/[^`]+)`/g)].map(([, name]) => name)
  assert.deepEqual(files.sort(), listed.sort())
  const { files: shipped } = JSON.parse(readFileSync(join(root, 'package.json'), 'utf8')) as {
    files: string[]
  }
  assert.ok(shipped.includes('packaging'))
})

describe("QEMU's and libvirt's", () => {
  it('description of the daemon has the fields of a vhost-user back-end', () => {
    const description = JSON.parse(read('qemu/50-ovfsd.json')) as Record<string, unknown>
    assert.deepEqual(Object.keys(description).sort(), ['binary', 'description', 'type'])
    assert.equal(description['type'], 'fs')
    assert.equal(description['binary'], COMMAND)
  })

  it('domain shares its memory and has both kinds of file systems', () => {
    // An XML parser, and what libvirt's documentation of <filesystem type='mount'> asks of virtiofs.
    const script = `
import sys, json, xml.etree.ElementTree as tree
domain = tree.parse(sys.argv[1]).getroot()
def attributes(path, of=domain): return [found.attrib for found in of.findall(path)]
print(json.dumps({
  'root': domain.tag,
  'source': attributes('memoryBacking/source'),
  'access': attributes('memoryBacking/access'),
  'filesystems': [{child.tag: child.attrib for child in fs} | {'own': fs.attrib, 'cache': attributes('binary/cache', fs)}
                  for fs in domain.findall('devices/filesystem')],
}))`
    const output = execFileSync('python3', ['-c', script, join(packaging, 'libvirt/domain.xml')], {
      encoding: 'utf8',
    })
    const driver = { type: 'virtiofs', queue: '1024' }
    assert.deepEqual(JSON.parse(output), {
      root: 'domain',
      source: [{ type: 'memfd' }],
      access: [{ mode: 'shared' }],
      filesystems: [
        {
          own: { type: 'mount' },
          driver,
          source: { socket: '/run/ovfsd/ovfsd.sock' },
          target: { dir: 'stores' },
          cache: [],
        },
        {
          own: { type: 'mount', accessmode: 'passthrough' },
          driver,
          binary: { path: COMMAND, xattr: 'on' },
          source: { dir: '/srv/data' },
          target: { dir: 'data' },
          cache: [{ mode: 'always' }],
        },
      ],
    })
  })
})

describe("Kata's configuration", () => {
  const { hypervisor } = parseToml(read('kata/configuration-ovfsd.toml')) as {
    hypervisor: { qemu: Record<string, unknown> }
  }
  const { qemu } = hypervisor

  it('names the daemon, and allows it', () => {
    assert.equal(qemu['shared_fs'], 'virtio-fs')
    assert.equal(qemu['virtio_fs_daemon'], COMMAND)
    assert.deepEqual(qemu['valid_virtio_fs_daemon_paths'], [COMMAND])
    assert.equal(qemu['virtio_fs_cache_size'], 0)
  })

  it('gives options that the daemon takes, both the one in use and the one in the comment', () => {
    const comment =
      /^#\s+(virtio_fs_extra_args = .*)$/m.exec(read('kata/configuration-ovfsd.toml'))?.[1] ?? ''
    const other = parseToml(comment)['virtio_fs_extra_args']
    for (const extra of [qemu['virtio_fs_extra_args'], other] as string[][]) {
      const args = [
        '--syslog',
        `--cache=${String(qemu['virtio_fs_cache'])}`,
        '--shared-dir=/shared',
        '--fd=3',
        ...extra,
      ]
      assert.equal(parseArguments(args).kind, 'run')
    }
  })
})

describe('the script for QEMU', () => {
  const script = join(packaging, 'qemu/run-with-ovfsd.sh')

  /** A program that writes its arguments, one a line, to `file`, and then does `rest`. */
  function fake(directory: string, name: string, rest: string): { program: string; args: () => string[] } {
    const program = join(directory, name)
    const file = `${program}.args`
    writeFileSync(program, `#!/bin/sh\nprintf '%s\\n' "$@" > '${file}'\n${rest}\n`)
    chmodSync(program, 0o755)
    return { program, args: () => readFileSync(file, 'utf8').trimEnd().split('\n') }
  }

  it('starts the daemon, then QEMU on its socket, and ends the daemon after it', async (test) => {
    const directory = temporaryDirectory(test)
    const ovfsd = fake(
      directory,
      'ovfsd',
      `trap 'touch "$0.stopped"; exit 0' TERM\necho 'Waiting for vhost-user socket connection' >&2\nwhile :; do sleep 0.05; done`,
    )
    const qemu = fake(directory, 'qemu', 'exit 0')
    const env = { ...process.env, OVFSD: ovfsd.program, QEMU: qemu.program, TAG: 'fs', MEMORY: '1G' }
    await promisify(execFile)('bash', [script, '--shared-dir=/srv/my data', '--', '-nographic'], { env })
    const [sharedDir = '', socket = '', ...others] = ovfsd.args()
    assert.deepEqual(others, [])
    assert.equal(sharedDir, '--shared-dir=/srv/my data')
    assert.equal(parseArguments([sharedDir, socket]).kind, 'run')
    const socketPath = socket.replace('--socket-path=', '')
    const args = qemu.args()
    assert.equal(args[args.indexOf('-chardev') + 1], `socket,id=ovfsd,path=${socketPath}`)
    assert.equal(args[args.indexOf('-object') + 1], 'memory-backend-memfd,id=mem,size=1G,share=on')
    assert.equal(args[args.indexOf('-device') + 1], 'vhost-user-fs-pci,queue-size=1024,chardev=ovfsd,tag=fs')
    assert.equal(args.at(-1), '-nographic')
    assert.ok(existsSync(`${ovfsd.program}.stopped`))
    assert.ok(!existsSync(socketPath.replace(/\/[^/]*$/, '')), 'its directory is removed')
  })

  it('says what the daemon said that did not start', (test) => {
    const directory = temporaryDirectory(test)
    const ovfsd = fake(directory, 'ovfsd', "echo 'ovfsd: no such thing' >&2; exit 2")
    const env = { ...process.env, OVFSD: ovfsd.program, QEMU: '/bin/false' }
    const { status, stderr } = spawnSync('bash', [script, '--check', '--'], { env, encoding: 'utf8' })
    assert.equal(status, 1)
    assert.equal(stderr, 'ovfsd did not start:\novfsd: no such thing\n')
  })

  it('explains itself without arguments', () => {
    const { status, stderr } = spawnSync('bash', [script], { encoding: 'utf8' })
    assert.equal(status, 2)
    assert.match(stderr, /run-with-ovfsd\.sh OVFSD_OPTION\.\.\. -- QEMU_OPTION\.\.\./)
  })
})

describe('the systemd units', () => {
  const hasSystemd = spawnSync('systemd-analyze', ['--version']).status === 0
  const skip = hasSystemd ? false : 'no systemd-analyze here'
  /** An exposure of 1.5, in systemd's tenths. A unit without any protection has 9.6. */
  const EXPOSURE_MAX_TENTHS = 15
  /** Root's user, eight capabilities and chown() alone are 1.4. */
  const PASSTHROUGH_EXPOSURE_MAX_TENTHS = 16
  const SERVICES = ['ovfsd.service', 'ovfsd@vm.service']

  /** The units as they would be installed, with a command that there is. */
  function installed(test: TestContext): string {
    const directory = temporaryDirectory(test)
    for (const name of readdirSync(join(packaging, 'systemd'))) {
      if (name.endsWith('.conf')) continue
      const text = read(`systemd/${name}`).replaceAll(COMMAND, join(root, 'bin/ovfsd.cjs'))
      writeFileSync(join(directory, name), text)
      // As `systemctl enable ovfsd@vm` does.
      if (name.includes('@')) writeFileSync(join(directory, name.replace('@', '@vm')), text)
    }
    return directory
  }

  it('have no fault', { skip }, (test) => {
    const units = [...SERVICES, 'ovfsd@vm.socket']
    const { status, stderr } = spawnSync('systemd-analyze', ['verify', ...units.map((name) => `./${name}`)], {
      cwd: installed(test),
      encoding: 'utf8',
    })
    assert.equal(stderr, '')
    assert.equal(status, 0)
  })

  const guide = readFileSync(join(root, 'docs/guides/systemd.md'), 'utf8')

  function exposureOf(directory: string, service: string, maxTenths: number): string {
    const args = ['security', '--offline=true', '--no-pager', `--threshold=${maxTenths}`, `./${service}`]
    const { status, stdout } = spawnSync('systemd-analyze', args, { cwd: directory, encoding: 'utf8' })
    assert.equal(status, 0, stdout)
    return /Overall exposure level for .*: ([\d.]+)/.exec(stdout)?.[1] ?? '?'
  }

  for (const service of SERVICES) {
    it(`let ${service} do little but its work`, { skip }, (test) => {
      const exposure = exposureOf(installed(test), service, EXPOSURE_MAX_TENTHS)
      assert.ok(guide.includes(`an exposure of ${exposure}`), `the guide says so: ${exposure}`)
    })

    it(`let ${service} with the drop-in for pass-through do not much more`, { skip }, (test) => {
      const directory = installed(test)
      const [, dropIn = ''] = /```ini\n(# mounts with type = "passthrough"[^`]*)```/.exec(guide) ?? []
      assert.match(dropIn, /CapabilityBoundingSet/)
      appendFileSync(join(directory, service), dropIn)
      const exposure = exposureOf(directory, service, PASSTHROUGH_EXPOSURE_MAX_TENTHS)
      assert.ok(guide.includes(`That is ${exposure}:`), `the guide says so: ${exposure}`)
    })
  }

  it('leave the daemon openat2()', () => {
    for (const service of ['ovfsd.service', 'ovfsd@.service'])
      assert.match(read(`systemd/${service}`), /^RestrictSUIDSGID=no$/m)
  })

  it('start the daemon with options that it takes', () => {
    for (const [file, kind] of [
      ['systemd/ovfsd.service', undefined],
      ['systemd/ovfsd@.service', 3],
    ] as const) {
      const line = /^ExecStart=(.*)$/m.exec(read(file))?.[1] ?? ''
      const [command, ...args] = line.split(' ')
      assert.equal(command, COMMAND)
      const parsed = parseArguments(args)
      assert.equal(parsed.kind, 'run')
      assert.equal('socketFd' in parsed ? parsed.socketFd : undefined, kind)
    }
  })
})
