/** Bringing one staged record to its store: whole, through the backend alone, however small the cache is. */
import type { Backend, BackendWriter, ObjectStat } from '../backends/backend.js'
import { dispose } from '../backends/disposable.js'
import { StorageError } from '../backends/storage-error.js'
import { newWriteMark } from '../backends/write-mark.js'
import { RecordAssembler } from './record-assembler.js'
import { RecordReader } from './record-reader.js'
import type { Found, Staging } from './staging.js'

/** Appending pays where rewriting would be long; a shorter file is replaced in one atomic request. */
const APPEND_MIN_BYTES = 1 << 20
/** Bytes of a record and of its store that are compared at a time. */
const PIECE_BYTES = 1 << 20
/** An upload whose end was not answered, or was refused for a moment, is ended again this often before all is begun anew. */
const CLOSE_TRIES = 3
/** Something else is at the file's path than what the staged bytes belong to. */
const CONFLICTS: readonly string[] = ['ESTALE', 'EEXIST', 'ENOENT', 'ENOTDIR', 'EISDIR']

/** What became of a record: the store has it, or others had changed the file. */
export type Recovered =
  | { readonly kind: 'stored' }
  | { readonly kind: 'conflict'; readonly error: StorageError; readonly keptAs: string }

/**
 * What is at the path of a record's file: all that is in the record; what the record lies over, or nothing, which it may take the
 * place of; or what it may not.
 */
interface Target {
  readonly kind: 'stored' | 'base' | 'other'
  readonly path: string
  readonly stat: ObjectStat | null
}

/** @throws StorageError where the store does not take it now; BrokenRecordError where the disk gives other bytes than were written */
export async function recoverRecord(backend: Backend, staging: Staging, record: Found): Promise<Recovered> {
  const reader = await RecordReader.open(staging.pathOf(record.id))
  try {
    const target = await findTarget(backend, record)
    try {
      await store(backend, record, reader, target)
    } catch (error) {
      if (!(error instanceof StorageError) || !CONFLICTS.includes(error.errno)) throw error
      if (!(await hasSameBytes(backend, reader, target.path)))
        return { kind: 'conflict', error, keptAs: await staging.setAside(record.id) }
    }
    if (record.mtime !== null && backend.capabilities.setModificationTime)
      await backend.setModificationTime(target.path, record.mtime)
  } finally {
    await reader.close()
  }
  await staging.forget(record.id)
  return { kind: 'stored' }
}

/** While it is being renamed, a file may be at either place. */
async function findTarget(backend: Backend, record: Found): Promise<Target> {
  const candidates: Target[] = []
  for (const path of record.paths) {
    const stat = await backend.stat(path, 'file')
    candidates.push({ kind: isReplaceable(record, stat) ? 'base' : 'other', path, stat })
  }
  const newest = candidates.at(-1) ?? { kind: 'other', path: '', stat: null }
  const base = candidates.find(({ kind }) => kind === 'base')
  if (record.base !== null && base !== undefined) return base
  for (const { path } of candidates) {
    const own = await findOwn(backend, record, path)
    if (own !== null) return own
  }
  if (candidates.length < 2) return newest
  return record.base === null ? unstoredTarget(backend, candidates) : movedTarget(record, candidates)
}

/** A commit of the record may take the place of this. */
function isReplaceable({ base, expected, replacesAny = false }: Found, stat: ObjectStat | null): boolean {
  if (base !== null) return stat?.version === base
  if (stat !== null && stat.kind !== 'file') return false
  return replacesAny || (stat?.version ?? null) === expected
}

/** A write of ours at the path, of which the daemon that was killed may not have heard. */
async function findOwn(backend: Backend, { marks, next }: Found, path: string): Promise<Target | null> {
  if (next === null && marks.length === 0) return null
  const { stat, mark } = (await backend.identify?.(path)) ?? { stat: null, mark: null }
  if (mark === null) return null
  if (mark === next) return { kind: 'stored', path, stat }
  return marks.includes(mark) ? { kind: 'base', path, stat } : null
}

/**
 * Of a stored file: if the store had moved it when the daemon was killed, and given it another version by that, then nothing is at
 * the old place, and at the new one is an object of the same length.
 */
function movedTarget({ baseBytes }: Found, candidates: readonly Target[]): Target {
  const [old, moved] = [candidates[0], candidates.at(-1)] as [Target, Target]
  const isMoved = old.stat === null && moved.stat?.kind === 'file' && moved.stat.sizeBytes === baseBytes
  return isMoved ? { ...moved, kind: 'base' } : moved
}

/** A file that no store had is where its directory is: at the old place, unless that was moved away. */
async function unstoredTarget(backend: Backend, candidates: readonly Target[]): Promise<Target> {
  const [old, moved] = [candidates[0], candidates.at(-1)] as [Target, Target]
  const directory = old.path.slice(0, Math.max(0, old.path.lastIndexOf('/')))
  return directory === '' || (await backend.stat(directory)) !== null ? old : moved
}

async function store(backend: Backend, record: Found, reader: RecordReader, target: Target): Promise<void> {
  const { kind, path, stat } = target
  if (kind === 'stored') return
  if (kind === 'other')
    throw new StorageError(stat === null ? 'ENOENT' : 'ESTALE', `${path}: another version is there`)
  const assembler = new RecordAssembler(backend, reader, path, stat?.version ?? '')
  if (stat !== null && canAppend(backend, record, stat)) return append(backend, record, assembler, target)
  const { capabilities } = backend
  const expected = stat?.version ?? null
  const options = {
    attributes: capabilities.attributes ? record.attributes : undefined,
    // If its answer is lost, the next try finds it.
    mark: record.next ?? newWriteMark(),
  }
  if (record.sizeBytes <= capabilities.partSizeBytes) {
    await backend.write(path, await assembler.part(0, record.sizeBytes), expected, options)
  } else {
    const writer = await backend.createWriter(path, expected, options)
    await upload(writer, assembler, record.sizeBytes, capabilities.partSizeBytes)
  }
}

async function upload(
  writer: BackendWriter,
  assembler: RecordAssembler,
  sizeBytes: number,
  partSizeBytes: number,
): Promise<void> {
  try {
    for (let start = 0; start < sizeBytes; start += partSizeBytes) {
      await writer.write(await assembler.part(start, Math.min(start + partSizeBytes, sizeBytes)))
    }
    await closeWriter(writer)
  } catch (error) {
    await writer.abort()
    throw error
  }
}

async function closeWriter(writer: BackendWriter): Promise<void> {
  for (let tries = 1; ; tries++) {
    try {
      await writer.close()
      return
    } catch (error) {
      const mayBeDone = error instanceof StorageError && (error.retryable || error.outcome === 'unknown')
      if (!mayBeDone || tries === CLOSE_TRIES) throw error
    }
  }
}

/** All that is new lies behind the stored object's end. */
function canAppend({ capabilities }: Backend, record: Found, { sizeBytes }: ObjectStat): boolean {
  const isLonger = record.baseLimit === sizeBytes && record.sizeBytes > sizeBytes
  return (
    capabilities.append &&
    sizeBytes >= APPEND_MIN_BYTES &&
    isLonger &&
    record.ranges.every(([start]) => start >= sizeBytes)
  )
}

async function append(
  backend: Backend,
  { sizeBytes }: Found,
  assembler: RecordAssembler,
  { path, stat }: Target,
): Promise<void> {
  const { partSizeBytes } = backend.capabilities
  let base = { version: stat?.version ?? '', sizeBytes: stat?.sizeBytes ?? 0 }
  while (base.sizeBytes < sizeBytes) {
    const end = Math.min(base.sizeBytes + partSizeBytes, sizeBytes)
    const appended = await backend.append(path, await assembler.part(base.sizeBytes, end), base)
    if (appended.sizeBytes !== end) throw new StorageError('ESTALE', `${path}: somebody else appended to it`)
    base = appended
  }
}

/** The death may have come between the commit and the end of the record: then the store has these very bytes. */
async function hasSameBytes(backend: Backend, reader: RecordReader, path: string): Promise<boolean> {
  const { ranges, sizeBytes } = reader.description
  const stat = await backend.stat(path, 'file')
  if (stat?.kind !== 'file' || stat.sizeBytes !== sizeBytes) return false
  const [low, high] = [ranges[0]?.[0] ?? 0, ranges.at(-1)?.[1] ?? 0]
  const assembler = new RecordAssembler(backend, reader, path, stat.version)
  // What lies between the ranges is not looked at.
  for (let start = low; start < high; start += PIECE_BYTES) {
    const end = Math.min(start + PIECE_BYTES, high)
    const stored = await backend.read(path, start, end - start, stat.version)
    const isSame = await assembler.isWithin(stored, start)
    dispose(stored)
    if (!isSame) return false
  }
  return true
}
