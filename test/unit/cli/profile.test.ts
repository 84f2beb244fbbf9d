import assert from 'node:assert/strict'
import { describe, it } from 'node:test'
import { linesOf } from '../../../src/cli/control-client.js'
import { Profiler, type Profile } from '../../../src/cli/profile.js'
import { formatEntry, type AccessEntry } from '../../../src/observability/access-line.js'
import { runOvfsd, temporaryFile } from '../../lib/cli/process.js'

const ENTRY: AccessEntry = {
  time: '2026-11-21T22:36:05.000000Z',
  ...{ uid: 0, gid: 0, pid: 1, mount: 'm', operation: 'read', path: '/m/a', newPath: null },
  ...{ fh: 1, size: 10, offset: 0, errno: null, bytes: 10, openedFh: null, durationUs: 100 },
}

function profileOf(
  entries: readonly AccessEntry[],
  by: 'operation' | 'path' | 'pid' | 'mount',
  groupsMax?: number,
): Profile {
  const profiler = new Profiler(by, groupsMax)
  for (const entry of entries) profiler.add(entry)
  return profiler.result(20)
}

describe('a profile', () => {
  const entries = [
    ENTRY,
    { ...ENTRY, durationUs: 300, bytes: 5, path: '/m/b', pid: 2 },
    { ...ENTRY, operation: 'write', durationUs: 250, mount: 'n', errno: 'EIO', bytes: 0 },
  ]

  it('adds up by operation', () => {
    assert.deepEqual(profileOf(entries, 'operation').groups, [
      { key: 'read', count: 2, errors: 0, bytes: 15, totalUs: 400, maxUs: 300 },
      { key: 'write', count: 1, errors: 1, bytes: 0, totalUs: 250, maxUs: 250 },
    ])
  })

  it('adds up by path, process and mount', () => {
    const keys = (by: 'path' | 'pid' | 'mount') =>
      profileOf(entries, by).groups.map(({ key, count }) => [key, count])
    assert.deepEqual(keys('path'), [
      ['/m/a', 2],
      ['/m/b', 1],
    ])
    assert.deepEqual(keys('pid'), [
      ['1', 2],
      ['2', 1],
    ])
    assert.deepEqual(keys('mount'), [
      ['m', 2],
      ['n', 1],
    ])
  })

  it('keeps the largest of more groups than it may hold, and loses nothing of the sums', () => {
    const many = Array.from({ length: 1000 }, (_, index) => ({
      ...ENTRY,
      path: `/m/${index}`,
      durationUs: index === 3 ? 1_000_000 : 1,
    }))
    const profile = profileOf([...many, ...many], 'path', 100)
    assert.equal(profile.isApproximate, true)
    assert.deepEqual(profile.groups[0], {
      ...{ key: '/m/3', count: 2, errors: 0, bytes: 20, totalUs: 2_000_000, maxUs: 1_000_000 },
    })
    const listed = profile.groups.reduce((sum, { count }) => sum + count, 0)
    assert.equal(listed + (profile.others?.count ?? 0), 2000)
    assert.equal(profile.all.count, 2000)
    assert.ok(profile.otherGroups >= 980, `${profile.otherGroups}`)
  })

  it('says of a file what it holds, whatever else is in it', async (test) => {
    const lines = entries.map((entry) => formatEntry(entry))
    const file = temporaryFile(
      test,
      'access.log',
      [...lines, 'rubbish', '', 'x'.repeat(1_000_000)].join('\n'),
    )
    const { code, stdout, stderr } = await runOvfsd('profile', file, '--json', '--top=1')
    assert.deepEqual([code, stderr], [0, ''])
    const profile = JSON.parse(stdout) as Profile
    assert.deepEqual(
      profile.groups.map(({ key }) => key),
      ['read'],
    )
    assert.deepEqual([profile.all.count, profile.others?.count, profile.otherGroups], [3, 1, 1])
    assert.ok(profile.unreadable >= 2)
    const text = await runOvfsd('profile', file, '--by', 'path')
    assert.match(text.stdout, /^PATH +COUNT +ERRORS/)
    assert.match(text.stdout, /^\/m\/a +2 +1 +10 B +350 us +53\.8% +175 us +250 us$/m)
    assert.match(text.stdout, /^\(all\) +3 /m)
  })

  it('can not be made of a file that is not there', async () => {
    const { code, stdout, stderr } = await runOvfsd('profile', '/nowhere/access.log')
    assert.deepEqual([code, stdout], [1, ''])
    assert.match(stderr, /^ovfsd: \/nowhere\/access\.log can't be read: .*ENOENT.*\n$/)
  })

  it('takes a log whose lines come in pieces', async () => {
    const text = entries.map((entry) => `${formatEntry({ ...entry, path: '/ü\n"' })}\n`).join('')
    for (const size of [1, 7, 1000]) {
      const pieces = (async function* () {
        for (let i = 0; i < text.length; i += size) yield await Promise.resolve(text.slice(i, i + size))
      })()
      const lines: string[] = []
      for await (const line of linesOf(pieces)) lines.push(line)
      assert.equal(lines.map((line) => `${line}\n`).join(''), text)
    }
  })
})
