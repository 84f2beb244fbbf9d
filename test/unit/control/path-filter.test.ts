import assert from 'node:assert/strict'
import { it } from 'node:test'
import { pathFilter } from '../../../src/control/path-filter.js'

for (const [glob, fits, others] of [
  ['/a', ['/a', '/a/b', '/a/b/c'], ['/ab', '/b/a', '/']],
  ['a/', ['/a', '/a/b'], ['/ab']],
  ['/', ['/', '/a', '/a/.b'], []],
  ['/*.db', ['/x.db', '/x.db/below', '/.db'], ['/a/x.db', '/x.db2']],
  ['/s3/**/x', ['/s3/x', '/s3/a/b/x', '/s3/x/below'], ['/s3', '/x']],
  ['/{a,b}/c', ['/a/c', '/b/c'], ['/c/c', '/a']],
  // Names may be of what globs are made of, or hold a line's end.
  ['/a (1)', ['/a (1)', '/a (1)/b'], ['/a 1']],
  ['/what?', ['/what?', '/whats', '/what?/b'], ['/what']],
  ['/a/*', ['/a/b\nc'], ['/a']],
  ['/!a', ['/!a'], ['/b']],
] as const) {
  it(`${JSON.stringify(glob)} means ${JSON.stringify(fits)}, and not ${JSON.stringify(others)}`, async () => {
    const matches = await pathFilter(glob)
    for (const path of fits) assert.ok(matches(path), path)
    for (const path of others) assert.ok(!matches(path), path)
  })
}

it('a glob that would keep the daemon busy is refused', async () => {
  await assert.rejects(pathFilter('/*a*a*a*a*a*a*b'), /too many wildcards/)
  await assert.rejects(pathFilter('/**/a/**/b/**'), /too many wildcards/)
  await assert.rejects(pathFilter('/+(a|*)'), /parenthesis/)
})
