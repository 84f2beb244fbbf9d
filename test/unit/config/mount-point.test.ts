import assert from 'node:assert/strict'
import { describe, it } from 'node:test'
import { formatMountPoint, parseMountPoint } from '../../../src/config/mount-point.js'

describe('mount points', () => {
  const good: readonly (readonly [string, readonly string[]])[] = [
    ['/', []],
    ['a', ['a']],
    ['/a', ['a']],
    ['a/', ['a']],
    ['/a/b/', ['a', 'b']],
    ['a b/ü', ['a b', 'ü']],
    ['...', ['...']],
    ['n'.repeat(255), ['n'.repeat(255)]],
  ]
  for (const [text, expected] of good) {
    it(`reads ${JSON.stringify(text).slice(0, 40)}`, () => {
      assert.deepEqual(parseMountPoint(text), expected)
      assert.deepEqual(parseMountPoint(formatMountPoint(expected)), expected)
    })
  }

  const bad: readonly (readonly [unknown, RegExp])[] = [
    ['', /is empty/],
    ['//', /empty name between two slashes/],
    ['a//b', /empty name between two slashes/],
    ['//a', /empty name/],
    ['.', /holds "\."/],
    ['a/../b', /holds "\.\."/],
    ['..', /holds "\.\."/],
    ['a\0b', /NUL/],
    ['n'.repeat(256), /longer than the 255 bytes/],
    ['ü'.repeat(128), /longer than the 255 bytes/],
    ['a/'.repeat(2100), /longer than the 4095 bytes/],
    [5, /expected a path/],
  ]
  for (const [value, message] of bad) {
    it(`refuses ${JSON.stringify(value).slice(0, 40)}`, () => {
      assert.throws(() => parseMountPoint(value), { name: 'ValueError', message })
    })
  }
})
