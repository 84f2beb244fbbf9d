import assert from 'node:assert/strict'
import { readFileSync, truncateSync } from 'node:fs'
import { dirname } from 'node:path'
import { describe, it } from 'node:test'
import { HELP } from '../../../src/cli/arguments.js'
import { runOvfsd, temporaryFile } from '../../lib/cli/process.js'

const SECRET = 'hunter2-hunter2'

const GOOD = `[ovfsd_settings]
socket_path = "/tmp/s"
[profiles.data]
type = "s3"
mount_point = "team/data"
bucket = "b"
secret_access_key = "${SECRET}"
[profiles.scratch]
type = "memory"
mount_point = "/"
`

describe('ovfsd', () => {
  it('shows its help', async () => {
    assert.deepEqual(await runOvfsd('--help'), { code: 0, signal: null, stdout: HELP, stderr: '' })
  })

  it('shows its version', async () => {
    const packageFile = new URL('../../../../package.json', import.meta.url)
    const { version } = JSON.parse(readFileSync(packageFile, 'utf8')) as { version: string }
    const outcome = await runOvfsd('--version')
    assert.deepEqual(outcome, { code: 0, signal: null, stdout: `ovfsd ${version}\n`, stderr: '' })
  })

  it('explains a wrong command line in one line', async () => {
    assert.deepEqual(await runOvfsd('--chek'), {
      code: 2,
      signal: null,
      stdout: '',
      stderr: 'ovfsd: unknown option "--chek"; did you mean "--check"? (ovfsd --help shows the options)\n',
    })
  })

  it('checks a good file', async (test) => {
    const file = temporaryFile(test, 'ovfsd.toml', GOOD)
    const stdout = `${file}: good; mounts data (s3) at /team/data, scratch (memory) at /\n`
    assert.deepEqual(await runOvfsd('--check', `--config-file=${file}`), {
      code: 0,
      signal: null,
      stdout,
      stderr: '',
    })
  })

  it('lists every problem of a bad file, with and without --check, and no secret', async (test) => {
    const text = `${GOOD}[profiles.bad]
type = "s3"
mount_point = "team//data"
buckett = "b"
access_key_id = ["${SECRET}"]
timeout = 30
`
    const file = temporaryFile(test, 'ovfsd.toml', text)
    const expected = {
      code: 2,
      signal: null,
      stdout: '',
      stderr: [
        `${file}:13: profiles.bad.mount_point: "team//data" has an empty name between two slashes; write one`,
        `${file}:14: profiles.bad.buckett: unknown key; did you mean "bucket"?`,
        `${file}:15: profiles.bad.access_key_id: expected a string, a number, true or false, found an array`,
        `${file}:16: profiles.bad.timeout: a duration needs a unit: write "30s" for 30 seconds`,
        '',
      ].join('\n'),
    }
    assert.deepEqual(await runOvfsd('--check', `--config-file=${file}`), expected)
    assert.deepEqual(await runOvfsd(`--config-file=${file}`), expected)
  })

  it('looks whether the directory of a pass-through mount is there', async (test) => {
    const profile = (name: string, root: string): string =>
      `[profiles.${name}]\ntype = "passthrough"\nmount_point = "${name}"\nroot = ${JSON.stringify(root)}\n`
    const text = '[ovfsd_settings]\nsocket_path = "/tmp/none.sock"\n'
    const here = temporaryFile(test, 'here.toml', '')
    const file = temporaryFile(
      test,
      'ovfsd.toml',
      text + profile('good', dirname(here)) + profile('missing', `${here}.not`) + profile('file', here),
    )
    const { code, stdout } = await runOvfsd('--check', '--connect', `--config-file=${file}`)
    assert.equal(code, 1)
    const lines = stdout.trimEnd().split('\n')
    assert.equal(lines[0], 'good (passthrough) at /good: ok')
    assert.match(lines[1] ?? '', /^missing \(passthrough\) at \/missing: ENOENT: /)
    assert.match(lines[2] ?? '', /^file \(passthrough\) at \/file: ENOTDIR: /)
  })

  it('explains a file that can not be read', async (test) => {
    const file = temporaryFile(test, 'ovfsd.toml', GOOD)
    const check = async (name: string): Promise<string> => {
      const { code, stderr } = await runOvfsd('--check', `--config-file=${name}`)
      assert.equal(code, 2)
      return stderr
    }
    assert.equal(await check(`${file}.not`), `${file}.not: can't be read: there is no such file\n`)
    const directory = dirname(file)
    assert.equal(await check(directory), `${directory}: can't be read: it is a directory; name a file\n`)
    truncateSync(file, 1024 * 1024 + 1)
    assert.equal(await check(file), `${file}: can't be read: it is larger than 1MiB\n`)
    const latin1 = temporaryFile(test, 'latin1.toml', '')
    const { writeFileSync } = await import('node:fs')
    writeFileSync(latin1, Buffer.from([0x23, 0xe9, 0x0a]))
    assert.equal(await check(latin1), `${latin1}: can't be read: it is not UTF-8 text\n`)
  })
})
