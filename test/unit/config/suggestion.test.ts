import assert from 'node:assert/strict'
import { describe, it } from 'node:test'
import { didYouMean, editDistance, nearestName } from '../../../src/config/suggestion.js'

describe('suggestions', () => {
  it('counts edits', () => {
    assert.equal(editDistance('', ''), 0)
    assert.equal(editDistance('bucket', 'bucket'), 0)
    assert.equal(editDistance('', 'abc'), 3)
    assert.equal(editDistance('buckett', 'bucket'), 1)
    assert.equal(editDistance('bukcet', 'bucket'), 1)
    assert.equal(editDistance('packet', 'bucket'), 2)
    assert.equal(editDistance('kitten', 'sitting'), 3)
    assert.equal(editDistance('x'.repeat(101), 'x'), Infinity)
  })

  it('finds the nearest name and leaves distant ones alone', () => {
    const known = ['bucket', 'endpoint', 'read_only', 'uid', 'gid', 'root']
    assert.equal(nearestName('buckt', known), 'bucket')
    assert.equal(nearestName('readOnly', known), 'read_only')
    assert.equal(nearestName('read-only', known), 'read_only')
    assert.equal(nearestName('Endpoint', known), 'endpoint')
    assert.equal(nearestName('zzz', known), undefined)
    assert.equal(nearestName('region', known), undefined)
    assert.equal(didYouMean('rot', known), '; did you mean "root"?')
    assert.equal(didYouMean('', known), '')
  })
})
