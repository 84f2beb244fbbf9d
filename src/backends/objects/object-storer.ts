/** Storing objects whole, in parts or as copies, each under its condition and with its mark. */
import type { BackendWriter, CopyOptions, ExpectedVersion, ObjectStat, WriteOptions } from '../backend.js'
import { Semaphore } from '../semaphore.js'
import { StorageError } from '../storage-error.js'
import { newWriteMark, WRITE_MARK_KEY } from '../write-mark.js'
import type { ConditionProbe } from './condition-probe.js'
import { encodeAttributes, storedStat, type Metadata } from './file-attributes.js'
import type { ObjectClient, ObjectHead } from './object-client.js'
import { ObjectWriter } from './object-writer.js'
import { settle, type Change } from './settle.js'

export class ObjectStorer {
  private readonly partBudget: Semaphore

  constructor(
    private readonly client: ObjectClient,
    private readonly probe: ConditionProbe,
    private readonly keepsAttributes: boolean,
  ) {
    this.partBudget = new Semaphore(client.limits.partsAtOnce)
  }

  async write(
    path: string,
    data: Uint8Array,
    expected: ExpectedVersion,
    options: WriteOptions = {},
  ): Promise<ObjectStat> {
    const metadata = this.metadataFor(options)
    const version = await this.change(path, expected, {
      relies: putCondition,
      send: (condition) => this.client.put(path, data, { condition, metadata }),
      isOurs: (head) => isMarked(head, metadata),
      isSame: (head) => this.hasContents(path, head, data),
    })
    return storedStat(data.byteLength, version, options.attributes)
  }

  /** Whether what is there is the same, where no mark tells whose it is. */
  private async hasContents(path: string, head: ObjectHead, data: Uint8Array): Promise<boolean> {
    if (head.sizeBytes !== data.byteLength) return false
    if (data.byteLength === 0) return true
    return Buffer.compare(await this.client.read(path, 0, data.byteLength, head.version), data) === 0
  }

  createWriter(path: string, expected: ExpectedVersion, options: WriteOptions = {}): Promise<BackendWriter> {
    const marked = { ...options, mark: options.mark ?? newWriteMark() }
    const metadata = this.metadataFor(marked)
    const { client } = this
    return Promise.resolve(
      new ObjectWriter({
        minPartBytes: client.limits.minPartBytes,
        budget: this.partBudget,
        begin: () => client.beginUpload(path, metadata),
        writeWhole: (data) => this.write(path, data, expected, marked),
        complete: async (upload, sizeBytes) => {
          await upload.prepare?.()
          const version = await this.change(path, expected, {
            relies: () => 'complete',
            send: (condition) => upload.complete(condition),
            isOurs: (head) => isMarked(head, metadata) ?? upload.isResult(head),
          })
          await upload.finish()
          // For the next one; it never rejects.
          if (expected !== undefined) await this.probe.of('complete')
          return storedStat(sizeBytes, version, options.attributes)
        },
      }),
    )
  }

  /** What is kept beside the contents of a file: its attributes, and whose write it is. */
  private metadataFor({ attributes, mark }: WriteOptions, others: Metadata = {}): Metadata {
    if (!this.client.keepsMetadata) return {}
    return {
      ...others,
      ...(attributes === undefined || !this.keepsAttributes ? {} : encodeAttributes(attributes, 'file')),
      [WRITE_MARK_KEY]: mark ?? newWriteMark(),
    }
  }

  private change(
    path: string,
    expected: ExpectedVersion,
    change: Omit<Change, 'path' | 'expected' | 'look'>,
  ): Promise<string> {
    return settle({ ...change, path, expected, look: () => this.client.head(path) }, this.probe)
  }

  async copy(
    from: string,
    to: string,
    expected: ExpectedVersion,
    options: CopyOptions = {},
  ): Promise<ObjectStat> {
    const head = await this.requireHead(from)
    const { sourceVersion, attributes } = options
    if (sourceVersion !== undefined && head.version !== sourceVersion)
      throw new StorageError('ESTALE', `${from}: changed before it was copied`)
    const others = attributes === undefined ? head.metadata : {}
    const metadata = this.client.keepsMetadata ? this.metadataFor(options, others) : null
    const source = { key: from, ...head }
    const isLarge = head.sizeBytes > this.client.limits.maxCopyBytes
    const version = await this.change(to, expected, {
      relies: () => (isLarge ? 'complete' : 'copy'),
      send: (condition) => this.client.copy(source, to, { condition, metadata }),
      isOurs: (present) => (metadata === null ? null : isMarked(present, metadata) === true),
    })
    return storedStat(head.sizeBytes, version, attributes)
  }

  private async requireHead(path: string): Promise<ObjectHead> {
    const head = await this.client.head(path)
    if (head === null) throw new StorageError('ENOENT', `${path}: not there`)
    return head
  }
}

function putCondition(expected: string | null): 'create' | 'replace' {
  return expected === null ? 'create' : 'replace'
}

/** Whether an object has the mark of the write that had this metadata; null where it has none at all. */
function isMarked(head: ObjectHead, metadata: Metadata): boolean | null {
  const mark = head.metadata[WRITE_MARK_KEY]
  return mark === undefined ? null : mark === metadata[WRITE_MARK_KEY]
}
