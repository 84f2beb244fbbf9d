/** A small HDFS in memory, NameNode and DataNode at one address. */
import { answer, type FakeStore, type StoreAnswer, type StoreCall } from './fake-store.js'

const API_PREFIX = '/webhdfs/v1'
/** Marks what the NameNode has sent on. */
const AT_DATA_NODE = 'datanode'
const REDIRECTED: ReadonlySet<string> = new Set(['OPEN', 'CREATE', 'APPEND'])

interface HdfsFile {
  readonly fileId: number
  /** null: a directory. */
  readonly data: Buffer | null
  readonly timeMs: number
}

export class FakeWebhdfs implements FakeStore {
  readonly files = new Map<string, HdfsFile>([['/', { fileId: 1, data: null, timeMs: 1 }]])
  /** Of a listing. */
  pageEntries = 1000
  private lastFileId = 1
  /** Goes on with each change. */
  private timeMs = 1_700_000_000_000

  optionsAt(origin: string): Record<string, string> {
    return { endpoint: origin, user: 'u' }
  }

  /** With its directories. */
  put(path: string, data: Buffer | null): void {
    const parent = parentOf(path)
    if (!this.files.has(parent)) this.put(parent, null)
    this.files.set(path, { data, fileId: ++this.lastFileId, timeMs: ++this.timeMs })
  }

  carryOut(call: StoreCall, origin: string): StoreAnswer {
    const path = call.path.slice(API_PREFIX.length).replace(/(.)\/$/, '$1') || '/'
    const op = call.query.get('op') ?? ''
    if (REDIRECTED.has(op) && !call.query.has(AT_DATA_NODE)) {
      const query = new URLSearchParams(call.query)
      query.set(AT_DATA_NODE, '1')
      const location = `${origin}${API_PREFIX}${encodeURI(path)}?${query.toString()}`
      return answer(307, { location })
    }
    return this.operate(op, path, call)
  }

  private operate(op: string, path: string, { query, body }: StoreCall): StoreAnswer {
    const file = this.files.get(path)
    switch (op) {
      case 'CREATE':
        if (file !== undefined) return refused(403, 'FileAlreadyExistsException', 'it exists')
        this.put(path, body)
        return answer(201)
      case 'MKDIRS':
        if (file === undefined) this.put(path, null)
        return json({ boolean: true })
      case 'DELETE':
        if ([...this.files.keys()].some((each) => each !== '/' && parentOf(each) === path))
          return refused(403, 'PathIsNotEmptyDirectoryException', `${path} is non empty`)
        return json({ boolean: this.files.delete(path) })
      default:
    }
    if (file === undefined) return refused(404, 'FileNotFoundException', `File does not exist: ${path}`)
    switch (op) {
      case 'GETFILESTATUS':
        return json({ FileStatus: statusOf('', file) })
      case 'LISTSTATUS_BATCH':
        return this.list(path, query.get('startAfter') ?? '')
      case 'OPEN': {
        const start = Number(query.get('offset') ?? 0)
        const data = file.data ?? Buffer.alloc(0)
        return answer(200, {}, data.subarray(start, start + Number(query.get('length') ?? data.length)))
      }
      case 'APPEND':
        this.change(path, { ...file, data: Buffer.concat([file.data ?? Buffer.alloc(0), body]) })
        return answer(200)
      case 'TRUNCATE':
        this.change(path, { ...file, data: file.data?.subarray(0, Number(query.get('newlength'))) ?? null })
        return json({ boolean: true })
      case 'RENAME':
        return this.rename(path, query.get('destination') ?? '', query.get('renameoptions') === 'OVERWRITE')
      default:
        return answer(200)
    }
  }

  private change(path: string, file: HdfsFile): void {
    this.files.set(path, { ...file, timeMs: ++this.timeMs })
  }

  private rename(from: string, to: string, overwrite: boolean): StoreAnswer {
    if (this.files.has(to) && !overwrite) return refused(403, 'FileAlreadyExistsException', 'it exists')
    for (const [path, file] of [...this.files]) {
      if (path !== from && !path.startsWith(`${from}/`)) continue
      this.files.delete(path)
      this.files.set(to + path.slice(from.length), file)
    }
    return answer(200)
  }

  private list(directory: string, after: string): StoreAnswer {
    const names = [...this.files.keys()].filter((path) => path !== '/' && parentOf(path) === directory)
    const left = names
      .map((path) => path.slice(path.lastIndexOf('/') + 1))
      .sort()
      .filter((name) => name > after)
    const page = left.slice(0, this.pageEntries).map((name) => {
      const file = this.files.get(`${directory === '/' ? '' : directory}/${name}`)
      return statusOf(name, file as HdfsFile)
    })
    return json({
      DirectoryListing: {
        partialListing: { FileStatuses: { FileStatus: page } },
        remainingEntries: left.length - page.length,
      },
    })
  }
}

function parentOf(path: string): string {
  return path.slice(0, Math.max(path.lastIndexOf('/'), 1))
}

function statusOf(pathSuffix: string, { data, fileId, timeMs }: HdfsFile): unknown {
  return {
    ...{ pathSuffix, fileId, type: data === null ? 'DIRECTORY' : 'FILE', length: data?.length ?? 0 },
    ...{ modificationTime: timeMs, owner: 'u', group: 'g', permission: '644', replication: 1 },
  }
}

function json(value: unknown): StoreAnswer {
  return answer(200, { 'content-type': 'application/json' }, JSON.stringify(value))
}

function refused(status: number, exception: string, message: string): StoreAnswer {
  return { ...json({ RemoteException: { exception, message } }), status }
}
