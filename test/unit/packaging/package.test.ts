/** The package as npm makes it, in a directory with nothing but what it declares. */
import assert from 'node:assert/strict'
import { execFileSync } from 'node:child_process'
import { mkdirSync, mkdtempSync, readFileSync, rmSync, symlinkSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { after, describe, it } from 'node:test'
import { fileURLToPath } from 'node:url'
import { Program, temporaryFile } from '../../lib/cli/process.js'

// dist/test/unit/packaging/ -> the package's root
const root = fileURLToPath(new URL('../../../../', import.meta.url))
const { version, dependencies, bin } = JSON.parse(readFileSync(join(root, 'package.json'), 'utf8')) as {
  version: string
  dependencies: Record<string, string>
  bin: { ovfsd: string }
}

const directory = mkdtempSync(join(tmpdir(), 'ovfsd-package-'))
const installed = join(directory, 'node_modules/ovfsd')

/** As `npm install` of the tarball does, with the dependencies that are here in place of a registry's. */
function install(): void {
  // What it packs has been built by the set-up of the tests.
  const packed = execFileSync(
    'npm',
    ['pack', '--ignore-scripts', '--json', `--pack-destination=${directory}`],
    {
      cwd: root,
      encoding: 'utf8',
      stdio: ['ignore', 'pipe', 'ignore'],
    },
  )
  const [{ filename }] = JSON.parse(packed) as [{ filename: string }]
  mkdirSync(installed, { recursive: true })
  execFileSync('tar', ['-xzf', join(directory, filename), '--strip-components=1', '-C', installed])
  for (const name of Object.keys(dependencies)) {
    const link = join(directory, 'node_modules', name)
    mkdirSync(dirname(link), { recursive: true })
    symlinkSync(join(root, 'node_modules', name), link)
  }
  execFileSync(process.execPath, ['scripts/install.mjs'], { cwd: installed })
}

describe('the package', () => {
  install()
  after(() => {
    rmSync(directory, { recursive: true })
  })
  const ovfsd = (...args: readonly string[]): Program => new Program(join(installed, bin.ovfsd), args)

  it('says its version', async () => {
    const { code, stdout, stderr } = await ovfsd('--version').outcome()
    assert.deepEqual([code, stdout, stderr], [0, `ovfsd ${version}\n`, ''])
  })

  it('checks the example that comes with it', async () => {
    const config = join(installed, 'ovfsd.example.toml')
    const { code, stdout, stderr } = await ovfsd('--check', `--config-file=${config}`).outcome()
    assert.deepEqual([code, stderr], [0, ''])
    assert.match(stdout, /: good; mounts /)
  })

  it('starts and ends', async (test) => {
    const config = temporaryFile(
      test,
      'ovfsd.toml',
      `[ovfsd_settings]\nsocket_path = "${directory}/socket"\n[profiles.m]\ntype = "memory"\nmount_point = "m"\n[profiles.f]\ntype = "fs"\nmount_point = "f"\nroot = "/"\nread_only = true\n`,
    )
    const program = ovfsd(`--config-file=${config}`)
    await program.says('Waiting for vhost-user socket connection')
    program.kill('SIGTERM')
    const { code, stderr } = await program.outcome()
    assert.equal(code, 0)
    assert.ok(!/"level":"(warn|error|fatal)"/.test(stderr), stderr)
  })

  it('has no source of the tests, no history, and no path of who packed it', () => {
    const files = execFileSync('find', [installed, '-type', 'f'], { encoding: 'utf8' })
    assert.doesNotMatch(files.replaceAll(installed, ''), /\/(test|\.git|\.cache|src\/cli)\//)
    const bundle = readFileSync(join(installed, 'dist/bundle/cli/ovfsd.cjs'), 'utf8')
    assert.ok(!bundle.includes(root), 'a path of the machine that packed it')
  })
})
