/**
 * Uploads in parts that are under way, each noted in an object `.ovfsd/upload-...` for as long as it lasts. A list of a
 * bucket's uploads does not tell whose they are; these notes do, so that what a killed daemon has begun can be aborted and
 * nobody else's upload ever is.
 */
import { randomUUID } from 'node:crypto'
import { RESERVED_DIRECTORY } from '../backend.js'
import { forEachConcurrently } from '../concurrency.js'
import {
  isGone,
  isSameProcess,
  ownIdentity,
  parseIdentity,
  type ProcessIdentity,
} from '../process-identity.js'
import type { S3Client } from './s3-client.js'

const RECORD_PREFIX = 'upload-'
/** A note is written anew this often while its upload lasts, to say that the daemon lives. */
const REFRESH_MS = 60 * 60_000
/** A note that nobody has written anew for this long: its daemon is gone, wherever it was. Many missed refreshes, so that a server or network that was away for hours costs no living upload. */
export const ABANDONED_AFTER_MS = 24 * 60 * 60_000
const SWEEP_CONCURRENCY = 8
/** More uploads than a daemon has under way when a server goes away; the notes of any others wait for the next start. */
const MAX_LEFTOVERS = 10_000
/** Longer than any note: a key has at most 1 KiB. */
const MAX_NOTE_BYTES = 64 << 10

interface UploadNote {
  readonly key: string
  readonly uploadId: string
  readonly process: ProcessIdentity
}

/** Notes of uploads that this process is still about, whichever mount they belong to. */
const live = new Set<string>()

/** One upload that is under way. */
export class UploadRecord {
  private readonly name = RECORD_PREFIX + randomUUID()
  /** The last try; it rejects where that failed. */
  private noted: Promise<unknown>
  private hasFailed = false
  private readonly timer: NodeJS.Timeout

  constructor(
    private readonly client: S3Client,
    private readonly key: string,
    private readonly uploadId: string,
  ) {
    live.add(this.name)
    this.noted = this.tryToNote()
    this.timer = setInterval(() => {
      this.note().catch(() => undefined)
    }, REFRESH_MS)
    this.timer.unref()
  }

  /** Resolves when a killed daemon's upload would be found. Rejects when it would not; the next call tries again. */
  async isNoted(): Promise<void> {
    if (this.hasFailed) this.noted = this.tryToNote()
    await this.noted
  }

  private tryToNote(): Promise<unknown> {
    this.hasFailed = false
    const noted = this.note()
    noted.catch(() => (this.hasFailed = true))
    return noted
  }

  private note(): Promise<unknown> {
    const note: UploadNote = { key: this.key, uploadId: this.uploadId, process: ownIdentity() }
    const headers = { 'content-type': 'application/json' }
    return this.client.put(recordKey(this.client, this.name), Buffer.from(JSON.stringify(note)), headers)
  }

  /** The upload is complete, and so is the note. Never rejects. */
  async remove(): Promise<void> {
    await this.noted.catch(() => undefined)
    this.end()
    await this.removeNote().catch(() => {
      this.leave()
    })
  }

  /** Abort the upload, and remove its note. Never rejects: what can't be done now is tried again, see `Backend.hasLeftovers`. */
  async abort(): Promise<void> {
    this.end()
    await this.abortOnce().catch(() => {
      this.leave()
    })
  }

  /** Of an upload that is complete there is nothing to abort, which is no error. */
  async abortOnce(): Promise<void> {
    await this.client.abortUpload(this.key, this.uploadId)
    // Not before: while the server is away this would wait for all tries of the note.
    await this.noted.catch(() => undefined)
    await this.removeNote()
    this.client.leftovers.delete(this)
  }

  private removeNote(): Promise<void> {
    return this.client.delete(recordKey(this.client, this.name))
  }

  private leave(): void {
    if (this.client.leftovers.size < MAX_LEFTOVERS) this.client.leftovers.add(this)
  }

  private end(): void {
    clearInterval(this.timer)
    live.delete(this.name)
  }
}

/** Names of notes among those that a listing of the reserved directory has. */
export function isRecordName(name: string): boolean {
  return name.startsWith(RECORD_PREFIX)
}

/**
 * Abort the uploads of these notes that no living daemon is about. Returns how many. What went wrong with one of them is
 * thrown when all others have been looked at.
 */
export async function sweepUploads(
  client: S3Client,
  names: readonly string[],
  abandonedAfterMs = ABANDONED_AFTER_MS,
): Promise<number> {
  let aborted = 0
  const errors: unknown[] = []
  await forEachConcurrently(names, SWEEP_CONCURRENCY, async (name) => {
    try {
      if (await sweepUpload(client, name, abandonedAfterMs)) aborted++
    } catch (error) {
      errors.push(error)
    }
  })
  if (errors.length > 0) throw errors[0] as Error
  return aborted
}

async function sweepUpload(client: S3Client, name: string, abandonedAfterMs: number): Promise<boolean> {
  const record = await client.get(recordKey(client, name), MAX_NOTE_BYTES)
  const note = record === null ? null : parseNote(record.body)
  // What is no note of ours, or beyond the mount's root, is not ours to end.
  if (record === null || !note?.key.startsWith(client.options.root)) return false
  // Both times are the server's, whose clock may differ from ours.
  const ageMs = Date.parse(record.headers.date ?? '') - Date.parse(record.headers['last-modified'] ?? '')
  if (!isAbandoned(name, note.process, ageMs, abandonedAfterMs)) return false
  await client.abortUpload(note.key, note.uploadId)
  await client.delete(recordKey(client, name))
  return true
}

function isAbandoned(name: string, owner: ProcessIdentity, ageMs: number, abandonedAfterMs: number): boolean {
  if (isSameProcess(owner, ownIdentity())) return !live.has(name)
  return isGone(owner) || ageMs > abandonedAfterMs
}

function recordKey(client: S3Client, name: string): string {
  return client.keyOf(`${RESERVED_DIRECTORY}/${name}`)
}

function parseNote(body: Buffer): UploadNote | null {
  try {
    const note = JSON.parse(body.toString('utf8')) as Partial<Record<keyof UploadNote, unknown>> | null
    const { key, uploadId, process: owner } = note ?? {}
    if (typeof key !== 'string' || typeof uploadId !== 'string' || uploadId === '') return null
    const identity = parseIdentity(owner)
    return identity === null ? null : { key, uploadId, process: identity }
  } catch {
    return null
  }
}
