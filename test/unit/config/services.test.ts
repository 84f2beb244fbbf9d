/** Holds the table of services against the OpenDAL binding that is installed, so that a new version can't drift from it. */
import assert from 'node:assert/strict'
import { describe, it } from 'node:test'
import opendal from 'opendal'
import { findService, SERVICES, type Service } from '../../../src/config/services.js'

/** What OpenDAL says to these options; '' if it accepts them. */
function answer(scheme: string, options: Record<string, string>): string {
  try {
    new opendal.Operator(scheme, options)
    return ''
  } catch (error) {
    return (error as Error).message
  }
}

/** Options that make the service whole; `leaveOut` is one to do without. */
function requiredOptions(service: Service, leaveOut?: string): Record<string, string> {
  const options: Record<string, string> = {}
  for (const group of service.required) {
    const name = group[0]
    if (name !== undefined && name !== leaveOut) options[name] = VALUES.get(name) ?? 'x'
  }
  return options
}

const VALUES = new Map([
  ['endpoint', 'http://127.0.0.1:1'],
  ['root', '/ipfs/x'],
  ['repo_id', 'a/b'],
])

/** What OpenDAL needs besides, but may find in its environment. */
const BESIDES: Readonly<Record<string, Record<string, string>>> = {
  s3: { region: 'r' },
  'aliyun-drive': { drive_type: 'resource' },
}

/** Those that our backends map to something else, or build with a side effect on the host. */
const NOT_BUILT = new Set(['hdfs', 'fs', 'null', 'passthrough'])

describe('the table of services, against the installed binding', () => {
  for (const [type, service] of SERVICES) {
    if (NOT_BUILT.has(type)) continue
    const whole = { ...requiredOptions(service), ...BESIDES[type] }

    it(`${type} is built from its required options`, () => {
      assert.equal(answer(type, whole), '')
    })

    for (const [name, kind] of Object.entries(service.options ?? {})) {
      if (kind === 'string') continue
      it(`${type} knows ${name} as ${kind}`, () => {
        assert.match(answer(type, { ...whole, [name]: 'neither' }), new RegExp(`'${name}'`))
        assert.equal(answer(type, { ...whole, [name]: kind === 'boolean' ? 'true' : '1' }), '')
      })
    }

    for (const [alias, name] of Object.entries(service.aliases ?? {})) {
      it(`${type} takes ${alias} for ${name}`, () => {
        const value = service.options?.[name] === 'boolean' ? 'true' : 'x'
        const given = { ...whole, [name]: value, [alias]: value }
        assert.match(answer(type, given), new RegExp(`duplicate field \`${name}\``))
      })
    }
  }

  for (const [type, service] of SERVICES) {
    // webhdfs would take localhost for a missing endpoint, which is nobody's intention.
    if (NOT_BUILT.has(type) || type === 'webhdfs') continue
    for (const [name] of service.required) {
      if (name === undefined) continue
      it(`${type} can't do without ${name}`, () => {
        assert.match(
          answer(type, { ...requiredOptions(service, name), ...BESIDES[type] }),
          /ConfigInvalid|missing/,
        )
      })
    }
  }

  it('has none that the binding lacks', () => {
    assert.match(answer('sftp', {}), /not enabled/)
    assert.match(answer('hdfs', {}), /not enabled/)
    assert.throws(() => findService('sftp'), /not part of this daemon's OpenDAL build/)
  })
})
