import assert from 'node:assert/strict'
import { describe, it } from 'node:test'
import { entryOf, formatEntry, parseEntry, type AccessEntry } from '../../../src/observability/access-line.js'
import { HostClock } from '../../../src/observability/host-clock.js'

const READ: AccessEntry = {
  time: '2026-11-21T22:36:05.123456Z',
  ...{ uid: 0, gid: 0, pid: 4403, mount: 's3', operation: 'read', path: '/s3/a.bin', newPath: null },
  ...{ fh: 3, size: 4096, offset: 8192, errno: null, bytes: 4096, openedFh: null, durationUs: 123 },
}

const RECORD = {
  ...{ id: 1, mount: 'm', operation: 'getattr', uid: 1, gid: 2, pid: 3, nodeid: 4, fh: null, path: '/' },
  ...{ newPath: null, sizeBytes: null, offset: null, startMs: performance.now(), errno: 2, bytes: 0 },
  ...{ durationUs: 2_000_000.4, openedFh: null },
}

const NAMES = [
  '/plain',
  '/with space and "quotes" and \\ and \\" and \\\\',
  '/a\nb\rc\td\u0000e\u001b[2J\u007f\u0085\u009b',
  '/line\u2028and\u2029paragraph',
  '/",fh:1): OK <0.000001>',
  '/ünïcödé/漢字/👍',
  // What a decoder makes of bytes that are no UTF-8, and what it never makes.
  '/bad\ufffdbytes',
  '/half\ud800surrogate',
  '?',
  '/',
]

describe('a line of the access log', () => {
  it('is as the documents show it', () => {
    assert.equal(
      formatEntry(READ),
      '2026.11.21 22:36:05.123456 [uid:0,gid:0,pid:4403] s3 read ("/s3/a.bin",fh:3,size:4096,offset:8192): OK (4096) <0.000123>',
    )
  })

  for (const [title, entry] of [
    ['a read', READ],
    ['a read at the end', { ...READ, bytes: 0 }],
    [
      'a failed look-up',
      { ...READ, operation: 'lookup', fh: null, size: null, offset: null, errno: 'ENOENT', bytes: 0 },
    ],
    ['an open', { ...READ, operation: 'open', fh: null, size: null, offset: null, bytes: 0, openedFh: 7 }],
    [
      'a rename',
      { ...READ, operation: 'rename', newPath: '/s3/b', fh: null, size: null, offset: null, bytes: 0 },
    ],
    [
      'a request of the kernel above mounts',
      { ...READ, mount: '(root)', uid: 4294967295, durationUs: 12_345_678 },
    ],
    ['large numbers', { ...READ, fh: 2 ** 40, offset: 2 ** 52, size: 2 ** 32 - 1 }],
  ] as const satisfies readonly (readonly [string, AccessEntry])[]) {
    it(`can be read back: ${title}`, () => {
      assert.deepEqual(parseEntry(formatEntry(entry)), entry)
    })
  }

  for (const name of NAMES) {
    it(`can be read back, and is one printable line: ${JSON.stringify(name)}`, () => {
      const entry = { ...READ, path: name, newPath: `${name}2` }
      const line = formatEntry(entry)

      assert.doesNotMatch(line, /[\u0000-\u001f\u007f-\u009f\u2028\u2029]/)
      assert.deepEqual(parseEntry(line), entry)
    })
  }

  it('is told from what is none', () => {
    const line = formatEntry(READ)
    const others = ['', 'x', line.slice(1), line.slice(0, -1), `${line} `, line.replace('"/s3', '/s3')]
    for (const other of [...others, line.replace('a.bin', '\\x'), line.replace('OK', 'oops')])
      assert.equal(parseEntry(other), null, other)
  })

  it('takes long lines in time that grows with their length only', () => {
    // Backtracking would take for ever here.
    assert.equal(parseEntry(`${formatEntry(READ).slice(0, 70)}${'\\"'.repeat(60_000)}`), null)
  })

  it('has the number of an errno that has no name', () => {
    const entry = entryOf({ ...RECORD, errno: 1234 }, new HostClock())
    assert.equal(entry.errno, '1234')
    assert.deepEqual(parseEntry(formatEntry(entry)), entry)
  })

  it('has the time of the answer', () => {
    const beforeMs = Date.now()
    const entry = entryOf(RECORD, new HostClock())
    const answeredMs = Date.parse(entry.time)
    // It began when this file was loaded, and took two seconds.
    const startedMs = beforeMs - (performance.now() - RECORD.startMs)
    assert.ok(Math.abs(answeredMs - 2000 - startedMs) < 1000, entry.time)
    assert.match(entry.time, /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z$/)
    assert.deepEqual([entry.errno, entry.durationUs], ['ENOENT', 2_000_000])
  })
})
