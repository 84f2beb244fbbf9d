/** The stores that lie, one for each client of the daemon. */
import { FakeS3, type FakeCall } from '../../support/fake-s3.js'
import { answer, type StoreAnswer, type StoreCall } from '../../support/fake-store.js'
import { FakeSwift } from '../../support/fake-swift.js'
import { FakeWebdav } from '../../support/fake-webdav.js'
import { FakeWebhdfs } from '../../support/fake-webhdfs.js'
import type { Lie, LiarStore } from './liar.js'

/** Of a listing: so that the few files of a test take several pages. */
const PAGE_ENTRIES = 5
const PAGE = answer(200, { 'content-type': 'text/html' }, '<html><body>welcome</body></html>')

export interface LyingStore extends LiarStore {
  readonly type: 's3' | 'swift' | 'hdfs' | 'webdav' | 'http'
  optionsAt(origin: string): Record<string, string>
  /** What is stored at a path below the mount's root, past all lies; null: nothing. */
  get(path: string): Buffer | null
  put(path: string, data: Buffer): void
  /** Lies about what is read that lead elsewhere on purpose: a redirection of a GET is followed. */
  readonly untellable: readonly Lie[]
  /** Bytes of an answer that the client takes at most, whatever it asked for. */
  readonly maxAnswerBytes: number
  stop(): Promise<void>
}

export const STARTERS: Readonly<Record<LyingStore['type'], () => Promise<LyingStore>>> = {
  s3: lyingS3,
  swift: () => Promise.resolve(lyingSwift()),
  hdfs: () => Promise.resolve(lyingWebhdfs()),
  webdav: () => Promise.resolve(lyingWebdav('webdav')),
  http: () => Promise.resolve(lyingWebdav('http')),
}

async function lyingS3(): Promise<LyingStore> {
  const fake = await FakeS3.start()
  fake.pageKeys = PAGE_ENTRIES
  const { bucket = '' } = fake.options
  const callOf = ({ path, ...call }: StoreCall): FakeCall => ({
    ...call,
    key: path.replace(new RegExp(`^/${bucket}/?`), ''),
  })
  const isListing = (call: StoreCall): boolean => call.method === 'GET' && callOf(call).key === ''
  return {
    // Of an object in whose middle a range was right once, the client that is fast does not show the range, and it follows
    // where it is sent: see SECURITY.
    ...{ type: 's3', untellable: ['another range', 'redirect'], maxAnswerBytes: 9 << 20 },
    optionsAt: (endpoint) => ({ ...fake.options, endpoint }),
    get: (path) => fake.objects.get(path)?.data ?? null,
    put: (path, data) => fake.put(path, data),
    stop: () => fake.stop(),
    carryOut: (call) => {
      const { status, headers = {}, body = '' } = fake.carryOut(callOf(call))
      return answer(
        status,
        Object.fromEntries(Object.entries(headers).map(([name, value]) => [name, String(value)])),
        body,
      )
    },
    isChange: ({ method }) => !['GET', 'HEAD'].includes(method),
    kindOf: (call) => (isListing(call) || call.method === 'HEAD' ? null : kindOfS3(call)),
    hollow: (call) => hollowS3(call, fake.objects.get(callOf(call).key)?.etag),
    errorWithin: (status) =>
      answer(status, {}, '<?xml version="1.0"?>\n<Error><Code>InternalError</Code></Error>'),
    withoutEnd: (told, call) => {
      if (!isListing(call)) return told
      const token = call.query.get('continuation-token')
      const next = token === null ? '' : `<NextContinuationToken>${token}</NextContinuationToken>`
      const text = told.body
        .toString()
        .replace(/<IsTruncated>.*?<\/IsTruncated>|<NextContinuationToken>.*?<\/NextContinuationToken>/g, '')
      const truncated = `<IsTruncated>true</IsTruncated>${next}</ListBucketResult>`
      return { ...told, body: Buffer.from(text.replace('</ListBucketResult>', truncated)) }
    },
  }
}

function kindOfS3({ method, query, headers }: StoreCall): string {
  const isCopy = headers['x-amz-copy-source'] !== undefined
  return [method, query.has('uploads'), query.has('uploadId'), isCopy].join()
}

/** `presentEtag`: of what is at the key and stays there. */
function hollowS3({ method, query, headers }: StoreCall, presentEtag: string | undefined): StoreAnswer[] {
  if (method === 'DELETE') return []
  const list = `<ListBucketResult><Contents><ETag>"0"</ETag></Contents></ListBucketResult>`
  const forms = [answer(200), PAGE, answer(200, {}, '<Error><Code>InternalError</Code></Error>')]
  forms.push(answer(200, {}, list))
  if (query.has('uploadId') && method === 'POST') {
    const result = '<Key>another</Key><ETag>"0123456789abcdef0123456789abcdef-2"</ETag>'
    forms.push(answer(200, {}, `<CompleteMultipartUploadResult>${result}</CompleteMultipartUploadResult>`))
  }
  if (headers['x-amz-copy-source'] === undefined && !query.has('partNumber') && presentEtag !== undefined)
    forms.push(answer(200, { etag: presentEtag }))
  return forms
}

function lyingSwift(): LyingStore {
  const fake = new FakeSwift()
  fake.pageEntries = PAGE_ENTRIES
  const isListing = ({ method, query }: StoreCall): boolean => method === 'GET' && query.has('format')
  return {
    ...{ type: 'swift', untellable: [], maxAnswerBytes: 81 << 20 },
    optionsAt: (origin) => fake.optionsAt(origin),
    get: (path) => fake.objects.get(path)?.data ?? null,
    put: (path, data) => {
      fake.put(path, data)
    },
    stop: () => Promise.resolve(),
    carryOut: (call, origin) => fake.carryOut(call, origin),
    isChange: ({ method }) => ['PUT', 'POST', 'DELETE'].includes(method),
    kindOf: (call) => (isListing(call) || call.method === 'HEAD' ? null : call.method),
    hollow: ({ method }) => (method === 'PUT' ? [answer(201), answer(200), { ...PAGE, status: 201 }] : []),
    errorWithin: (status) => answer(status, {}, '<html><h1>Internal Error</h1></html>'),
    withoutEnd: (told, call) => {
      const after = call.query.get('marker')
      if (!isListing(call) || after === null) return told
      const page = fake.carryOut({ ...call, query: new URLSearchParams() }, '')
      return page
    },
  }
}

function lyingWebhdfs(): LyingStore {
  const fake = new FakeWebhdfs()
  fake.pageEntries = PAGE_ENTRIES
  const opOf = ({ query }: StoreCall): string => query.get('op') ?? ''
  const remote = JSON.stringify({ RemoteException: { exception: 'IOException', message: 'no' } })
  return {
    ...{ type: 'hdfs', untellable: [], maxAnswerBytes: 17 << 20 },
    optionsAt: (origin) => fake.optionsAt(origin),
    get: (path) => fake.files.get(`/${path}`)?.data ?? null,
    put: (path, data) => {
      fake.put(`/${path}`, data)
    },
    stop: () => Promise.resolve(),
    carryOut: (call, origin) => fake.carryOut(call, origin),
    isChange: (call) => call.method !== 'GET',
    // Neither a status nor bytes say whose they are.
    kindOf: () => null,
    hollow: (call) => {
      if (call.method === 'GET') return []
      const forms = [PAGE, answer(200, {}, remote), answer(200, {}, 'null'), answer(200, {}, '{}')]
      // A DataNode's success is an empty answer: of CREATE, the file's length tells.
      return opOf(call) === 'CREATE' ? [answer(201)] : opOf(call) === 'APPEND' ? [answer(200)] : forms
    },
    errorWithin: (status) => answer(status, {}, remote),
    withoutEnd: (told, call) => {
      if (opOf(call) !== 'LISTSTATUS_BATCH') return told
      const text = told.body.toString().replace(/"remainingEntries":\d+/, '"remainingEntries":3')
      return { ...told, body: Buffer.from(text) }
    },
  }
}

function lyingWebdav(type: 'webdav' | 'http'): LyingStore {
  const fake = new FakeWebdav()
  return {
    // A server may keep contents elsewhere, and what is there has a version of its own.
    ...{ type, untellable: ['redirect'], maxAnswerBytes: 65 << 20 },
    optionsAt: (origin) => fake.optionsAt(origin),
    get: (path) => fake.files.get(`/${path}`) ?? null,
    put: (path, data) => {
      fake.put(`/${path}`, data)
    },
    stop: () => Promise.resolve(),
    carryOut: (call, origin) => fake.carryOut(call, origin),
    isChange: ({ method }) => !['GET', 'HEAD', 'PROPFIND'].includes(method),
    kindOf: ({ method, headers }) => (method === 'HEAD' ? null : `${method} ${String(headers['depth'])}`),
    // A look tells of a PUT; of the others nothing does.
    hollow: ({ method }) => (method === 'PUT' ? [answer(201), { ...PAGE, status: 201 }, answer(204)] : []),
    errorWithin: (status) => answer(status, {}, '<html><h1>Internal Server Error</h1></html>'),
    withoutEnd: (told) => told,
  }
}
