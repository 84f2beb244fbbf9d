import assert from 'node:assert/strict'
import { describe, it } from 'node:test'
import type { Backend, BackendWriter } from '../../../src/backends/backend.js'
import {
  BackendLayer,
  inLayers,
  type BackendCall,
  type BackendMethod,
} from '../../../src/backends/layers/backend-layer.js'
import { CountedBackend } from '../../../src/backends/layers/counted.js'
import type { WriterCall } from '../../../src/backends/layers/layered-writer.js'
import { EmptyBackend } from '../../../src/backends/local/empty-backend.js'
import { BackendCounters } from '../../../src/observability/backend-counters.js'
import { withMembers } from '../../support/backends.js'

const MTIME = { seconds: 1, nanoseconds: 2 }
const DATA = new Uint8Array(3)

/** Every method that asks the store, with arguments that differ from each other. */
const CALLS: Readonly<Record<BackendMethod, readonly unknown[]>> = {
  stat: ['a', 'file'],
  list: ['a'],
  listPage: ['a', 'token', 3],
  listSmall: ['a'],
  read: ['a', 5, 7, 'v1'],
  write: ['a', DATA, 'v1', { mark: 'm' }],
  createWriter: ['a', null, { mark: 'm' }],
  append: ['a', DATA, { version: 'v1', sizeBytes: 9 }],
  copy: ['a', 'b', null, { sourceVersion: 'v1' }],
  identify: ['a'],
  createDirectory: ['a', { mode: 1, uid: 2, gid: 3, mtime: MTIME }],
  removeDirectory: ['a'],
  removeFile: ['a'],
  rename: ['a', 'b', 'file', { version: 'v1' }],
  syncNames: ['a'],
  keepAside: ['a', '.ovfsd/b'],
  setModificationTime: ['a', MTIME],
  setAttributes: ['a', 'file', { mode: 1 }],
  removeLeftovers: [],
  usage: [],
}
const METHODS = Object.keys(CALLS) as BackendMethod[]

type Seen = (readonly unknown[])[]

/** A store that notes what it is asked and answers with the method's name, and a writer. */
function notingStore(seen: Seen): Backend {
  const writer: BackendWriter = {
    write: (data) => Promise.resolve(void seen.push(['writer.write', data])),
    whenSent: (data) => Promise.resolve(void seen.push(['writer.whenSent', data])),
    close: () => Promise.reject(new Error('close failed')),
    abort: () => Promise.resolve(void seen.push(['writer.abort'])),
  }
  const methods = METHODS.map((method) => [
    method,
    (...args: unknown[]): Promise<unknown> => {
      seen.push([method, ...args])
      return Promise.resolve(method === 'createWriter' ? writer : `of ${method}`)
    },
  ])
  return withMembers(new EmptyBackend(), {
    ...(Object.fromEntries(methods) as Partial<Backend>),
    accepts: (path) => path === 'a',
    listsStats: true,
    readsCopies: true,
    hasLeftovers: true,
    conditions: () => ({
      ...{ create: 'server', replace: 'look', complete: 'look', copy: 'unknown', remove: 'look' },
    }),
    reportRetries: (listener) => {
      listener()
    },
  })
}

/** Notes what passes it. */
class NotingLayer extends BackendLayer {
  constructor(
    inner: Backend,
    private readonly name: string,
    private readonly seen: Seen,
  ) {
    super(inner)
  }

  protected override around<T>(call: BackendCall, run: (store: Backend) => Promise<T>): Promise<T> {
    this.seen.push([this.name, call.method, call.path])
    return run(this.inner)
  }

  protected override aroundUpload<T>(call: WriterCall, run: () => Promise<T>): Promise<T> {
    this.seen.push([this.name, call.method, call.path])
    return run()
  }
}

async function ask(backend: Backend, method: BackendMethod): Promise<unknown> {
  const methods = backend as unknown as Record<string, (...args: unknown[]) => Promise<unknown>>
  return methods[method]?.(...CALLS[method])
}

describe('layers around a store', () => {
  for (const method of METHODS) {
    it(`hand on ${method} with all it is given, the outermost first`, async () => {
      const seen: Seen = []
      const backend = inLayers(notingStore(seen), [
        (store) => new NotingLayer(store, 'inner', seen),
        (store) => new BackendLayer(store),
        (store) => new NotingLayer(store, 'outer', seen),
      ])
      const answer = await ask(backend, method)
      if (method !== 'createWriter') assert.equal(answer, `of ${method}`)
      const path = CALLS[method][0] ?? ''
      assert.deepEqual(seen, [
        ['outer', method, path],
        ['inner', method, path],
        [method, ...CALLS[method]],
      ])
    })
  }

  it('say what can be said without the store, and pass nobody for it', () => {
    const seen: Seen = []
    const store = notingStore(seen)
    const backend = new NotingLayer(store, 'layer', seen)
    assert.equal(backend.capabilities, store.capabilities)
    assert.deepEqual([backend.accepts('a'), backend.accepts('b')], [true, false])
    assert.deepEqual([backend.listsStats, backend.readsCopies, backend.hasLeftovers], [true, true, true])
    assert.equal(backend.conditions?.().replace, 'look')
    let retries = 0
    backend.reportRetries?.(() => retries++)
    assert.equal(retries, 1)
    assert.deepEqual(seen, [])
  })

  it('have no member that the store has not', () => {
    const backend = new BackendLayer(new EmptyBackend())
    for (const member of [
      'listPage',
      'listSmall',
      'identify',
      'keepAside',
      'removeLeftovers',
      'conditions',
      'reportRetries',
    ] as const) {
      assert.equal(backend[member], undefined, member)
    }
    assert.deepEqual([backend.listsStats, backend.readsCopies, backend.hasLeftovers], [false, false, false])
  })

  it('wrap an upload, whose errors they hand on', async () => {
    const seen: Seen = []
    const writer = await new NotingLayer(notingStore(seen), 'layer', seen).createWriter('a', null)
    seen.length = 0
    await writer.write(DATA)
    await writer.whenSent?.(DATA)
    await assert.rejects(writer.close(), /close failed/)
    await writer.abort()
    assert.deepEqual(seen, [
      ['layer', 'writer.write', 'a'],
      ['writer.write', DATA],
      ['writer.whenSent', DATA],
      ['layer', 'writer.close', 'a'],
      ['layer', 'writer.abort', 'a'],
      ['writer.abort'],
    ])
  })

  it('hand on an upload as it is where none of its calls concerns them', async () => {
    const writer: BackendWriter = {
      write: () => Promise.resolve(),
      close: () => Promise.reject(new Error('unused')),
      abort: () => Promise.resolve(),
    }
    const store = withMembers(new EmptyBackend(), { createWriter: () => Promise.resolve(writer) })
    assert.equal(await new BackendLayer(store).createWriter('a', null), writer)
  })

  it('count every method', async () => {
    const counters = new BackendCounters()
    const backend = new CountedBackend(notingStore([]), counters)
    for (const method of METHODS) await ask(backend, method)
    const counted = counters.operations.totals().reduce((sum, { count }) => sum + count, 0)
    assert.equal(counted, METHODS.length)
    assert.equal(counters.inFlight, 0)
    assert.equal(counters.retries, 1)
  })
})
