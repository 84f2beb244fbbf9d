import assert from 'node:assert/strict'
import { describe, it } from 'node:test'
import { proxyNameOf } from '../../../src/server/store-proxy.js'

const BOTH = { HTTP_PROXY: 'http://user:secret@plain:3128', HTTPS_PROXY: 'http://tls', NO_PROXY: 'near' }

describe('the proxy of a mount', () => {
  for (const [what, type, options, environment, proxy] of [
    ['is that of its scheme, without credentials', 's3', { endpoint: 'http://far:9000' }, BOTH, 'plain:3128'],
    ['is that of HTTPS', 'webdav', { endpoint: 'https://far' }, BOTH, 'tls:80'],
    ['is that of Amazon where S3 has no endpoint', 's3', { bucket: 'b' }, BOTH, 'tls:80'],
    ['is that of the log-in', 'swift', { auth_url: 'https://far/v3' }, BOTH, 'tls:80'],
    ['is that of a NameNode', 'hdfs', { name_node: 'hdfs://far:9000' }, BOTH, 'plain:3128'],
    ['is none for an excepted host', 's3', { endpoint: 'http://near' }, BOTH, null],
    ['is none for a directory', 'fs', { root: '/srv' }, BOTH, null],
    ['is none without the variables', 's3', { endpoint: 'http://far' }, {}, null],
  ] as const) {
    it(what, () => {
      assert.equal(proxyNameOf({ type, options }, environment), proxy)
    })
  }
})
