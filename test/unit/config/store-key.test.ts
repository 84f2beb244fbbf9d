import assert from 'node:assert/strict'
import { describe, it } from 'node:test'
import { formerStoreKey, storeKey } from '../../../src/config/store-key.js'

type Options = Readonly<Record<string, string>>

const NO_ENVIRONMENT = {}
const CEPH = { bucket: 'b', endpoint: 'http://ceph:7480', access_key_id: 'A', secret_access_key: 's' }
const KEYSTONE = { container: 'c', auth_url: 'https://k/v3', application_credential_id: 'A' }

function isSame(type: string, one: Options, other: Options, environment: Options = NO_ENVIRONMENT): boolean {
  return storeKey(type, one, NO_ENVIRONMENT) === storeKey(type, other, environment)
}

describe('stores are told apart', () => {
  const differing: readonly (readonly [string, string, Options, Options, Options?])[] = [
    ['by the access key, which on Ceph chooses a tenant', 's3', CEPH, { ...CEPH, access_key_id: 'B' }],
    ['by the role', 's3', CEPH, { ...CEPH, role_arn: 'arn:aws:iam::other:role/x' }],
    ['by who asks without credentials', 's3', CEPH, { ...CEPH, allow_anonymous: 'true' }],
    [
      'by the access key of the environment',
      's3',
      { bucket: 'b', endpoint: 'http://ceph' },
      { bucket: 'b', endpoint: 'http://ceph' },
      { AWS_ACCESS_KEY_ID: 'B' },
    ],
    ['by the bucket', 's3', CEPH, { ...CEPH, bucket: 'c' }],
    ['by the root', 's3', CEPH, { ...CEPH, root: '/x' }],
    [
      'by the application credential, which chooses a project',
      'swift',
      KEYSTONE,
      { ...KEYSTONE, application_credential_id: 'B' },
    ],
    [
      'by the project',
      'swift',
      { container: 'c', auth_url: 'https://k/v3', username: 'u', project_name: 'p' },
      { container: 'c', auth_url: 'https://k/v3', username: 'u', project_name: 'q' },
    ],
    [
      'by the user of a version 1 log-in',
      'swift',
      { container: 'c', auth_url: 'https://s/auth/v1.0', user: 'a:u' },
      { container: 'c', auth_url: 'https://s/auth/v1.0', user: 'b:u' },
    ],
    [
      'by the user of a WebDAV server',
      'webdav',
      { endpoint: 'https://w', username: 'u' },
      { endpoint: 'https://w', username: 'v' },
    ],
    [
      'by the bearer of a token',
      'webdav',
      { endpoint: 'https://w', token: 't' },
      { endpoint: 'https://w', token: 'u' },
    ],
    ['by the owner of a drive', 'gdrive', { refresh_token: 't' }, { refresh_token: 'u' }],
  ]
  for (const [what, type, one, other, environment] of differing) {
    it(what, () => {
      assert.equal(isSame(type, one, other, environment), false)
    })
  }
})

describe('a store stays the same', () => {
  const alike: readonly (readonly [string, string, Options, Options])[] = [
    ['with another secret of the same key', 's3', CEPH, { ...CEPH, secret_access_key: 't' }],
    [
      'on AWS, where a bucket is one whoever asks',
      's3',
      { bucket: 'b', access_key_id: 'A' },
      { bucket: 'b', access_key_id: 'B', role_arn: 'arn:aws:iam::1:role/x' },
    ],
    [
      'on AWS by its own endpoint',
      's3',
      { bucket: 'b', endpoint: 'https://s3.eu-west-1.amazonaws.com', access_key_id: 'A' },
      { bucket: 'b', endpoint: 'https://s3.eu-west-1.amazonaws.com', access_key_id: 'B' },
    ],
    [
      'with the next keys of a session',
      's3',
      { ...CEPH, session_token: 't' },
      { ...CEPH, access_key_id: 'B', session_token: 'u' },
    ],
    [
      'with another token for a storage URL that names the account',
      'swift',
      { endpoint: 'https://s/v1/account', container: 'c', token: 't' },
      { endpoint: 'https://s/v1/account', container: 'c', token: 'u' },
    ],
    [
      'with a renewed access token of a drive',
      'gdrive',
      { refresh_token: 't', access_token: 'a' },
      { refresh_token: 't', access_token: 'b' },
    ],
    ['spelt with slashes', 's3', { ...CEPH, root: '/a/b' }, { ...CEPH, root: '/a//b/' }],
    ['with a slash behind its endpoint', 's3', CEPH, { ...CEPH, endpoint: 'http://ceph:7480/' }],
    [
      'with another password in its URL',
      'webdav',
      { endpoint: 'https://u:one@w' },
      { endpoint: 'https://u:two@w' },
    ],
  ]
  for (const [what, type, one, other] of alike) {
    it(what, () => {
      assert.equal(isSame(type, one, other), true)
    })
  }
})

describe('the key of a store', () => {
  it('holds no credential', () => {
    const options = { ...CEPH, access_key_id: 'AKIAVERYSECRET', endpoint: 'https://user:hunter22@ceph' }
    assert.doesNotMatch(storeKey('s3', options, NO_ENVIRONMENT), /AKIAVERYSECRET|hunter22/)
  })

  it('tells what it was called before, where that says which store it is', () => {
    const aws = { bucket: 'b', root: '/a/', access_key_id: 'A' }
    assert.equal(formerStoreKey('s3', aws, NO_ENVIRONMENT), '["s3",[["bucket","b"],["root","/a/"]]]')
    assert.equal(formerStoreKey('fs', { root: '/srv' }, NO_ENVIRONMENT), '["fs",[["root","/srv"]]]')
    assert.equal(formerStoreKey('s3', CEPH, NO_ENVIRONMENT), null)
    assert.equal(formerStoreKey('swift', KEYSTONE, NO_ENVIRONMENT), null)
  })
})
