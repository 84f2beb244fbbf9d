import assert from 'node:assert/strict'
import { describe, it } from 'node:test'
import {
  ConfigError,
  diffSettings,
  parseSettings,
  tracingSecrets,
  type Settings,
} from '../../../src/config/index.js'

const REST = '[ovfsd_settings]\nsocket_path = "/s"\n[profiles.m]\ntype = "memory"\nmount_point = "m"\n'
const ENDPOINT = 'endpoint = "http://127.0.0.1:4318/v1/traces"\n'

function tracing(lines: string): Settings['tracing'] {
  return parseSettings(`${REST}[tracing]\n${lines}`, 'f.toml').tracing
}

/** Without the file's name. */
function faults(lines: string): string[] {
  try {
    tracing(lines)
  } catch (error) {
    if (error instanceof ConfigError)
      return error.message.split('\n').map((line) => line.replace('f.toml:', ''))
    throw error
  }
  return []
}

describe('[tracing]', () => {
  it('is off without an endpoint', () => {
    assert.equal(parseSettings(REST, 'f').tracing, null)
    assert.equal(tracing('sample_ratio = 0.5\n'), null)
  })

  it('has defaults', () => {
    assert.deepEqual(tracing(ENDPOINT), {
      ...{ endpoint: 'http://127.0.0.1:4318/v1/traces', headers: {}, serviceName: 'ovfsd', sampleRatio: 1 },
      ...{
        perOpenFile: false,
        queueSize: 8192,
        exportIntervalMs: 1000,
        exportTimeoutMs: 10_000,
        filters: [],
      },
    })
  })

  it('has filters', () => {
    const settings = tracing(
      `${ENDPOINT}[[tracing.filters]]\nmounts = ["m"]\npaths = ["/m/**/*.log"]\nmin_latency = "1.5ms"\n` +
        '[[tracing.filters]]\noperations = ["read", "background"]\npids = [0, 17]\n',
    )
    assert.deepEqual(settings?.filters, [
      { mounts: ['m'], paths: ['/m/**/*.log'], operations: null, pids: null, minLatencyUs: 1500 },
      { mounts: null, paths: null, operations: ['read', 'background'], pids: [0, 17], minLatencyUs: 0 },
    ])
  })

  it('takes secrets from the environment, where it is used, and has them hidden', (test) => {
    process.env['OVFSD_TEST_TOKEN'] = 'hush'
    test.after(() => {
      delete process.env['OVFSD_TEST_TOKEN']
    })
    const settings = tracing(`${ENDPOINT}headers = { Authorization = "Bearer \${OVFSD_TEST_TOKEN}" }\n`)
    assert.deepEqual(settings?.headers, { authorization: 'Bearer hush' })
    assert.deepEqual(tracingSecrets(settings), ['Bearer hush', 'hush'])
    assert.equal(tracing('headers = { a = "${OVFSD_TEST_NOT_SET}" }\n'), null)
    assert.deepEqual(faults(`${ENDPOINT}headers = { a = "\${OVFSD_TEST_NOT_SET}" }\n`), [
      '8: tracing.headers.a: needs the environment variable OVFSD_TEST_NOT_SET, which is not set',
    ])
  })

  for (const [what, lines, expected] of [
    ['no URL', 'endpoint = "localhost:4318"', /^7: tracing\.endpoint: expected a URL such as "http:/],
    ['a URL of something else', 'endpoint = "ftp://h/"', /^7: tracing\.endpoint: expected a URL/],
    [
      'a password in a URL',
      'endpoint = "http://u:secret@h/"',
      /^7: tracing\.endpoint: holds a user or a password/,
    ],
    [
      'an unknown key',
      'sample_rate = 1',
      /^7: tracing\.sample_rate: unknown key; did you mean "sample_ratio"\?/,
    ],
    [
      'a ratio above 1',
      'sample_ratio = 50',
      /^7: tracing\.sample_ratio: expected a number from 0 \(nothing\) to 1/,
    ],
    [
      'a queue without room',
      'queue_size = 1',
      /^7: tracing\.queue_size: 1 is out of range; allowed is 512 to 16384/,
    ],
    [
      'a bad header',
      'headers = { "a b" = "c" }',
      /^7: tracing\.headers\."a b": is no name of an HTTP header/,
    ],
    [
      'a header of two lines',
      'headers = { a = "b\\r\\nc" }',
      /^7: tracing\.headers\.a: holds a character that/,
    ],
    [
      "the exporter's header",
      'headers = { Content-Type = "x" }',
      /^7: tracing\.headers\.Content-Type: is set by/,
    ],
    ['headers that are none', 'headers = "a: b"', /^7: tracing\.headers: expected a table such as/],
    [
      'a filter that is none',
      'filters = ["m"]',
      /^7: tracing\.filters\.0: expected a table, found the string "m"/,
    ],
    [
      'filters that are none',
      'filters = "m"',
      /^7: tracing\.filters: expected up to 64 tables \[\[tracing\.filters\]\]/,
    ],
    [
      'an unknown mount',
      '[[tracing.filters]]\nmounts = ["x"]',
      /^8: tracing\.filters\.0\.mounts: "x" is no profile; write "m" or/,
    ],
    [
      'an unknown operation in the second filter',
      '[[tracing.filters]]\npids = [1]\n[[tracing.filters]]\noperations = ["raed"]',
      /^10: tracing\.filters\.1\.operations: expected names of operations such as "read", found the string "raed"; did you mean "read"\?/,
    ],
    [
      'a relative glob',
      '[[tracing.filters]]\npaths = ["*.log"]',
      /^8: tracing\.filters\.0\.paths: expected a glob over the whole path/,
    ],
    [
      'a process that cannot be',
      '[[tracing.filters]]\npids = [-1]',
      /^8: tracing\.filters\.0\.pids: expected process ids from 0/,
    ],
    [
      'nothing to choose from',
      '[[tracing.filters]]\npids = []',
      /^8: tracing\.filters\.0\.pids: expected an array of 1 to 64/,
    ],
    [
      'an unknown key of a filter',
      '[[tracing.filters]]\npid = [1]',
      /^8: tracing\.filters\.0\.pid: unknown key; did you mean "pids"\?/,
    ],
  ] as const) {
    it(`refuses ${what}`, () => {
      const [fault = '', ...others] = faults(`${lines}\n`)
      assert.match(fault, expected)
      assert.deepEqual(others, [])
      assert.doesNotMatch(fault, /secret/)
    })
  }

  it('can change while running', () => {
    const settings = (lines: string) => parseSettings(`${REST}${lines}`, 'f')
    const on = settings(`[tracing]\n${ENDPOINT}`)
    assert.equal(diffSettings(settings(''), on).tracing, true)
    assert.equal(diffSettings(on, settings(`[tracing]\n${ENDPOINT}sample_ratio = 0\n`)).tracing, true)
    assert.equal(diffSettings(on, on).tracing, false)
    assert.deepEqual(diffSettings(settings(''), on).needRestart, [])
  })
})
