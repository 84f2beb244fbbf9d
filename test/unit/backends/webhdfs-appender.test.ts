/** Appends to a file of HDFS whose answer is lost, in the moments in which HDFS is still at it. */
import assert from 'node:assert/strict'
import { describe, it } from 'node:test'
import type { FileStatus } from '../../../src/backends/hdfs/file-status.js'
import { versionOf } from '../../../src/backends/hdfs/file-status.js'
import { WebhdfsAppender } from '../../../src/backends/hdfs/webhdfs-appender.js'
import type { WebhdfsClient } from '../../../src/backends/hdfs/webhdfs-client.js'
import { HttpError } from '../../../src/backends/http/http-error.js'

const TIMEOUT_MS = 30_000
const BASE = Buffer.from('one ')
const ADDED = Buffer.from('two')
/** Looks that show a file as long as it was while a DataNode cuts it. */
const LOOKS_OF_A_CUT = 3

/** A file of HDFS as a NameNode shows it, and a DataNode that breaks off each append. */
class OneFile {
  contents: Buffer = BASE
  private modificationTime = 1000
  private cutting: { to: number; looks: number } | null = null
  /** When what a DataNode was given becomes visible: before the NameNode is asked to cut the file, or never. */
  constructor(private ends: 'before the cut' | 'never') {}

  private status(): FileStatus {
    if (this.cutting !== null && this.cutting.looks-- === 0) {
      this.change(this.contents.subarray(0, this.cutting.to))
      this.cutting = null
    }
    return {
      ...{
        pathSuffix: '',
        type: 'FILE',
        owner: 'o',
        group: 'g',
        permission: '644',
        replication: 1,
        fileId: 7,
      },
      length: this.contents.length,
      modificationTime: this.modificationTime,
    }
  }

  private change(contents: Buffer): void {
    this.contents = contents
    this.modificationTime += 100
  }

  get version(): string {
    return versionOf(this.status())
  }

  get client(): WebhdfsClient {
    const lost = new HttpError({ errno: 'EIO', retryable: true, again: true, unanswered: true }, 'reset')
    return {
      status: () => Promise.resolve(this.status()),
      open: (_path: string, offset: number, length: number) =>
        Promise.resolve(this.contents.subarray(offset, offset + length)),
      beginAppend: () => Promise.resolve({}),
      append: () => Promise.reject(lost),
      truncate: (_path: string, length: number) => {
        if (this.cutting !== null)
          return Promise.reject(new HttpError({ errno: 'EIO', retryable: true }, 'busy'))
        if (this.ends === 'before the cut') this.change(Buffer.concat([BASE, ADDED]))
        this.ends = 'never'
        if (this.contents.length === length) return Promise.resolve(true)
        this.cutting = { to: length, looks: LOOKS_OF_A_CUT }
        return Promise.resolve(false)
      },
      setModificationTime: (_path: string, time: number) =>
        Promise.resolve(void (this.modificationTime = time)),
    } as unknown as WebhdfsClient
  }
}

describe('an append without an answer', () => {
  it('that ends right before the look that cuts it off again is not taken for done', async () => {
    const file = new OneFile('before the cut')
    const base = { version: file.version, sizeBytes: BASE.length }
    await assert.rejects(new WebhdfsAppender(file.client, TIMEOUT_MS).append('/f', ADDED, base), {
      errno: 'EIO',
      retryable: true,
    })
    assert.equal(file.contents.toString(), 'one ')
    assert.equal(file.version, base.version, 'the next try finds what it knows')
  })

  it('that never came is refused', async () => {
    const file = new OneFile('never')
    const base = { version: file.version, sizeBytes: BASE.length }
    await assert.rejects(new WebhdfsAppender(file.client, TIMEOUT_MS).append('/f', ADDED, base), {
      errno: 'EIO',
      outcome: 'refused',
    })
    assert.equal(file.contents.toString(), 'one ')
  })
})
