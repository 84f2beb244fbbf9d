/**
 * An upload of unknown length. Swift takes an object in one request only, and closes it after a minute in which the guest
 * writes nothing (client_timeout); then what has left memory would be lost. So each part is stored as an object of its own
 * in the reserved directory, each with its own retries. In the end a manifest joins them and the server copies what it
 * joins to the place it belongs: a plain object, visible as a whole.
 */
import { randomUUID } from 'node:crypto'
import { RESERVED_DIRECTORY, type BackendWriter, type ObjectStat } from '../backend.js'
import { forEachConcurrently } from '../concurrency.js'
import { StorageError } from '../storage-error.js'
import type { SwiftContainer } from './swift-container.js'

/** The server removes what a killed daemon has left behind; an upload that lasts longer fails at its end. */
const SEGMENT_LIFE_SECONDS = 7 * 24 * 3600
/** Digits of a segment's number: names sort as they follow. */
const SEGMENT_DIGITS = 8
const CLEAN_UP_CONCURRENCY = 8
interface Segment {
  readonly object: string
  readonly sizeBytes: number
  readonly etag: string
}

/** Puts the joined object in its place; null for an empty one. */
export type Publish = (manifest: string | null, sizeBytes: number) => Promise<ObjectStat>

export class SwiftUpload implements BackendWriter {
  private readonly directory = `${RESERVED_DIRECTORY}/upload-${randomUUID()}`
  private readonly segments: Segment[] = []
  private sizeBytes = 0

  constructor(
    private readonly container: SwiftContainer,
    private readonly path: string,
    private readonly publish: Publish,
  ) {}

  async write(data: Uint8Array): Promise<void> {
    if (data.byteLength === 0) return
    const { maxFileSizeBytes } = await this.container.limits()
    if (this.sizeBytes + data.byteLength > maxFileSizeBytes) {
      throw new StorageError(
        'EFBIG',
        `${this.path}: the server's objects have at most ${maxFileSizeBytes} bytes`,
      )
    }
    const object = `${this.directory}/${String(this.segments.length).padStart(SEGMENT_DIGITS, '0')}`
    // Noted first, so that it is removed if the answer gets lost.
    const index = this.segments.push({ object, sizeBytes: data.byteLength, etag: '' }) - 1
    const { headers } = await this.container.request({
      ...{ method: 'PUT', object, body: data, expect: [201] },
      headers: { 'x-delete-after': String(SEGMENT_LIFE_SECONDS), 'content-type': 'application/octet-stream' },
    })
    this.segments[index] = {
      object,
      sizeBytes: data.byteLength,
      etag: (headers.etag ?? '').replaceAll('"', ''),
    }
    this.sizeBytes += data.byteLength
  }

  async close(): Promise<ObjectStat> {
    if (this.segments.length === 0) return this.publish(null, 0)
    const manifest = `${this.directory}/manifest`
    // docs.openstack.org/swift/latest/overview_large_objects.html: the server checks sizes and etags.
    const list = this.segments.map(({ object, sizeBytes, etag }) => ({
      path: this.container.fullNameOf(object),
      size_bytes: sizeBytes,
      ...(etag === '' ? {} : { etag }),
    }))
    await this.container.request({
      ...{ method: 'PUT', object: manifest, body: Buffer.from(JSON.stringify(list)), expect: [201] },
      query: { 'multipart-manifest': 'put' },
      headers: { 'x-delete-after': String(SEGMENT_LIFE_SECONDS), 'content-type': 'application/octet-stream' },
    })
    this.segments.push({ object: manifest, sizeBytes: 0, etag: '' })
    const stat = await this.publish(manifest, this.sizeBytes)
    await this.abort()
    return stat
  }

  /** Removes the parts. At the first failure it ends, for a server that is away would be asked for each; it removes them some day. */
  async abort(): Promise<void> {
    await forEachConcurrently(this.segments.splice(0), CLEAN_UP_CONCURRENCY, async ({ object }) => {
      await this.container.request({ method: 'DELETE', object, expect: [204, 404] })
    }).catch(() => undefined)
  }
}
