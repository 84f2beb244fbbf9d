import assert from 'node:assert/strict'
import { execFileSync } from 'node:child_process'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, describe, it } from 'node:test'
import { ConfigError, parseSettings, type Settings } from '../../../src/config/index.js'
import { expandVariables } from '../../../src/config/secrets.js'
import { ValueError } from '../../../src/config/problem.js'

const directory = mkdtempSync(join(tmpdir(), 'ovfsd-secrets-'))
after(() => {
  rmSync(directory, { recursive: true })
})

const SERVER = '[ovfsd_settings]\nsocket_path = "/tmp/s"\n'
const S3 = 'type = "s3"\nmount_point = "data"\nbucket = "b"\n'

function parse(lines: string, server = SERVER): Settings {
  return parseSettings(`${server}[profiles.p]\n${S3}${lines}`, 'f.toml')
}

function problems(lines: string): string {
  try {
    parse(lines)
  } catch (error) {
    if (error instanceof ConfigError) return error.message
    throw error
  }
  return ''
}

function fileWith(name: string, data: string | Uint8Array): string {
  const file = join(directory, name)
  writeFileSync(file, data)
  return file
}

describe('${NAME}', () => {
  for (const [text, result] of [
    ['', ''],
    ['plain $ {A} $A', 'plain $ {A} $A'],
    ['${A}', '1'],
    ['x${A}y${_b2}z', 'x1y${A}z'],
    ['$${A}', '${A}'],
    ['$$${A}', '$${A}'],
    ['$${$${', '${${'],
    ['${EMPTY}', ''],
  ] as const) {
    it(`in ${JSON.stringify(text)} is expanded`, () => {
      assert.equal(expandVariables(text, { A: '1', _b2: '${A}', EMPTY: '' }), result)
    })
  }

  for (const text of ['${', '${}', '${A', '${1}', '${A-b}', '${MISSING}', '${__proto__}']) {
    it(`in ${JSON.stringify(text)} is refused`, () => {
      assert.throws(() => expandVariables(text, { A: '1' }), ValueError)
    })
  }

  it('stands in any text of a profile', () => {
    process.env['OVFSD_TEST_TOKEN'] = 'from/the+environment'
    const mount = parse('secret_access_key = "${OVFSD_TEST_TOKEN}"\nregion = "a-$${b"').mounts[0]
    assert.deepEqual(mount?.options, {
      bucket: 'b',
      secret_access_key: 'from/the+environment',
      region: 'a-${b',
    })
  })

  it('that is not set is named, once', () => {
    assert.equal(
      problems('secret_access_key = "${OVFSD_NOT_SET}"'),
      'f.toml:7: profiles.p.secret_access_key: needs the environment variable OVFSD_NOT_SET, which is not set',
    )
    const text = `${SERVER}[profiles.p]\ntype = "s3"\nmount_point = "\${OVFSD_NOT_SET}"\nbucket = "\${OVFSD_NOT_SET}"`
    assert.throws(
      () => parseSettings(text, 'f.toml'),
      (error) => error instanceof ConfigError && error.problems.length === 2,
    )
  })

  it('is not looked at in profiles that are not enabled', () => {
    const other = '[profiles.other]\ntype = "memory"\nmount_point = "o"\n'
    const server = `${SERVER}enabled_services = "other"\n${other}`
    const lines =
      'secret_access_key = "${OVFSD_NOT_SET}"\nsession_token_file = "/nowhere"\ndelete_max_size = "${X}"'
    assert.deepEqual(parse(lines, server).secretFiles, [])
  })
})

describe('<option>_file', () => {
  it('is the option, without the line end', () => {
    for (const [text, secret] of [
      ['secret', 'secret'],
      ['secret\n', 'secret'],
      ['secret\r\n', 'secret'],
      [' two\nlines \n\n', ' two\nlines \n'],
    ] as const) {
      const file = fileWith('good', text)
      const settings = parse(`secret_access_key_file = ${JSON.stringify(file)}`)
      assert.deepEqual(settings.mounts[0]?.options, { bucket: 'b', secret_access_key: secret })
      assert.deepEqual(settings.secretFiles, [file])
    }
  })

  it('satisfies what is required', () => {
    const file = JSON.stringify(fileWith('good', 'x'))
    const text = `${SERVER}[profiles.p]\ntype = "upyun"\nmount_point = "m"\nbucket = "b"\noperator = "o"\npassword_file = ${file}`
    assert.equal(parseSettings(text, 'f.toml').mounts[0]?.options['password'], 'x')
  })

  it('that can not be had is explained, and never shown', () => {
    const secret = 'hunter2'
    const fifo = join(directory, 'fifo')
    execFileSync('mkfifo', [fifo])
    for (const [value, reason] of [
      ['1', 'expected the path of a file, found the number 1'],
      ['"relative"', 'expected an absolute path'],
      ['"/nowhere/at/all"', 'there is no such file'],
      [JSON.stringify(directory), 'it is a directory'],
      [JSON.stringify(fifo), 'it is a pipe; name a file'],
      [JSON.stringify(fileWith('empty', '\n')), 'empty'],
      [JSON.stringify(fileWith('large', `${secret}${'x'.repeat(65_536)}`)), 'larger than 64KiB'],
      [JSON.stringify(fileWith('binary', Buffer.from([0xff]))), 'not UTF-8'],
      [JSON.stringify(fileWith('nul', `${secret}\0`)), 'NUL'],
    ] as const) {
      const message = problems(`secret_access_key_file = ${value}`)
      assert.ok(message.startsWith('f.toml:7: profiles.p.secret_access_key_file: '), message)
      assert.ok(message.includes(reason), message)
      assert.ok(!message.includes('\n') && !message.includes(secret), message)
    }
  })

  it('is for secrets, and instead of the option', () => {
    const file = JSON.stringify(fileWith('good', 'x'))
    assert.match(problems(`region_file = ${file}`), /region_file: unknown key/)
    assert.match(
      problems(`secret_access_key = "x"\nsecret_access_key_file = ${file}`),
      /secret_access_key_file: sets the same option as "secret_access_key"/,
    )
    assert.match(problems(`secret_key_of_nobody_file = ${file}`), /unknown key/)
  })
})
