import assert from 'node:assert/strict'
import { describe, it } from 'node:test'
import { formatKeyPath, KeyLines } from '../../../src/config/key-lines.js'
import { seededRandom } from '../../lib/config/random.js'

const TEXT = `# comment with [table] and key = 1
top = "a # no comment"   # [x]

[ovfsd_settings]   # here
socket_path = '/tmp/x' # y = 2
 "quoted key" = 1
dotted.key."with.dot" = true

[profiles."a.b"]
text = """
[not.a.table]
not_a_key = 1 \\""" still
"""
literal = '''
[no]
no = 1'''
after = 1
inline = { one = 1, two.three = [ 1, # ]
  2 ], four = "}" }
many = [
  { deep = 1 },
  { deeper = 2 },
]
last = 1979-05-27T07:32:00Z

[ profiles . spaced ]
k = 1
[[array]]
k = 2
[[array]]
late = 3`

describe('lines of keys', () => {
  const lines = new KeyLines(TEXT)
  const expected: readonly (readonly [readonly string[], number])[] = [
    [['top'], 2],
    [['ovfsd_settings'], 4],
    [['ovfsd_settings', 'socket_path'], 5],
    [['ovfsd_settings', 'quoted key'], 6],
    [['ovfsd_settings', 'dotted'], 7],
    [['ovfsd_settings', 'dotted', 'key', 'with.dot'], 7],
    [['profiles'], 9],
    [['profiles', 'a.b'], 9],
    [['profiles', 'a.b', 'text'], 10],
    [['profiles', 'a.b', 'literal'], 14],
    [['profiles', 'a.b', 'after'], 17],
    [['profiles', 'a.b', 'inline', 'one'], 18],
    [['profiles', 'a.b', 'inline', 'two', 'three'], 18],
    [['profiles', 'a.b', 'inline', 'four'], 19],
    [['profiles', 'a.b', 'many', '0', 'deep'], 21],
    [['profiles', 'a.b', 'many', '1', 'deeper'], 22],
    [['profiles', 'a.b', 'last'], 24],
    [['profiles', 'spaced'], 26],
    [['profiles', 'spaced', 'k'], 27],
    [['array', '0', 'k'], 29],
    [['array', '1'], 30],
    [['array', '1', 'late'], 31],
  ]
  for (const [path, line] of expected) {
    it(`finds ${formatKeyPath(path)}`, () => {
      assert.equal(lines.find(path), line)
    })
  }

  it('falls back to the table around a key that is not there', () => {
    assert.equal(lines.find(['profiles', 'a.b', 'missing']), 9)
    assert.equal(lines.find(['profiles', 'other', 'missing']), 9)
    assert.equal(lines.find(['nothing']), 1)
    assert.equal(lines.find(['not_a_key']), 1)
    assert.equal(lines.find(['not']), 1)
  })

  it('writes paths as TOML does', () => {
    assert.equal(formatKeyPath(['profiles', 'a.b', 'x']), 'profiles."a.b".x')
  })

  it('ends on any text', (test) => {
    const random = seededRandom(test)
    const pieces = [
      '[',
      ']',
      '{',
      '}',
      '=',
      '"',
      '"""',
      "'",
      "'''",
      '\\',
      '\n',
      '#',
      ',',
      '.',
      'key',
      ' ',
      '1',
    ] as const
    for (let round = 0; round < 3000; round++) {
      const text = Array.from({ length: random.below(40) }, () => random.pick(pieces)).join('')
      assert.ok(new KeyLines(text).find(['key']) >= 1)
    }
  })
})
