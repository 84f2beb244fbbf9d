/**
 * An upload of unknown length. Swift takes an object in one request only, and closes it after a minute in which the guest
 * writes nothing (client_timeout); then what has left memory would be lost. So each part is stored as an object of its own
 * in the reserved directory, each with its own retries. In the end a manifest joins them and the server copies what it
 * joins to the place it belongs: a plain object, visible as a whole.
 */
import { RESERVED_DIRECTORY } from '../backend.js'
import { forEachConcurrently } from '../concurrency.js'
import type { PartsUpload } from '../objects/object-client.js'
import { StorageError } from '../storage-error.js'
import { newWriteMark } from '../write-mark.js'
import type { SwiftContainer } from './swift-container.js'

/** The server removes what a killed daemon has left behind; an upload that lasts longer fails at its end. */
const SEGMENT_LIFE_SECONDS = 7 * 24 * 3600
/** Digits of a segment's number: names sort as they follow. */
const SEGMENT_DIGITS = 8
const CLEAN_UP_CONCURRENCY = 8
const TEMPORARY_HEADERS = {
  'x-delete-after': String(SEGMENT_LIFE_SECONDS),
  'content-type': 'application/octet-stream',
}

interface Segment {
  readonly sizeBytes: number
  /** '' until it is stored. */
  readonly etag: string
}

/** Puts what the manifest joins in its place. Returns the version. */
export type Join = (manifest: string, sizeBytes: number) => Promise<string>

export class SwiftPartsUpload implements PartsUpload {
  private readonly directory = `${RESERVED_DIRECTORY}/upload-${newWriteMark()}`
  private readonly segments = new Map<number, Segment>()
  private hasManifest = false

  constructor(
    private readonly container: SwiftContainer,
    private readonly key: string,
    private readonly join: Join,
  ) {}

  async append(number: number, data: Uint8Array): Promise<void> {
    const { maxFileSizeBytes } = await this.container.limits()
    // Noted first, so that it is removed if the answer gets lost.
    const sizeBytes = data.byteLength
    this.segments.set(number, { sizeBytes, etag: '' })
    if (this.sizeBytes > maxFileSizeBytes)
      throw new StorageError(
        'EFBIG',
        `${this.key}: the server's objects have at most ${maxFileSizeBytes} bytes`,
      )
    const { headers } = await this.container.request({
      ...{ method: 'PUT', object: this.segmentName(number), body: data, expect: [201] },
      headers: TEMPORARY_HEADERS,
    })
    this.segments.set(number, { sizeBytes, etag: (headers.etag ?? '').replaceAll('"', '') })
  }

  private get sizeBytes(): number {
    let sum = 0
    for (const { sizeBytes } of this.segments.values()) sum += sizeBytes
    return sum
  }

  private segmentName(number: number): string {
    return `${this.directory}/${String(number).padStart(SEGMENT_DIGITS, '0')}`
  }

  private get manifestName(): string {
    return `${this.directory}/manifest`
  }

  /** Swift takes no condition with it: the caller has looked right before. */
  complete(): Promise<string> {
    return this.join(this.manifestName, this.sizeBytes)
  }

  /** The server checks sizes and etags: docs.openstack.org/swift/latest/overview_large_objects.html */
  async prepare(): Promise<void> {
    if (this.hasManifest) return
    const inOrder = [...this.segments].sort(([one], [other]) => one - other)
    const list = inOrder.map(([number, { sizeBytes, etag }]) => ({
      path: this.container.fullNameOf(this.segmentName(number)),
      size_bytes: sizeBytes,
      ...(etag === '' ? {} : { etag }),
    }))
    await this.container.request({
      ...{ method: 'PUT', object: this.manifestName, body: Buffer.from(JSON.stringify(list)), expect: [201] },
      query: { 'multipart-manifest': 'put' },
      headers: TEMPORARY_HEADERS,
    })
    this.hasManifest = true
  }

  /** Only the mark tells: the joined object has an etag of its own. */
  isResult(): boolean {
    return false
  }

  finish(): Promise<void> {
    return this.abort()
  }

  /** Removes the parts. At the first failure it ends, for a server that is away would be asked for each; it removes them some day. */
  async abort(): Promise<void> {
    const names = [...this.segments.keys()].map((number) => this.segmentName(number))
    this.segments.clear()
    await forEachConcurrently([...names, this.manifestName], CLEAN_UP_CONCURRENCY, async (object) => {
      await this.container.request({ method: 'DELETE', object, expect: [204, 404] })
    }).catch(() => undefined)
  }
}
