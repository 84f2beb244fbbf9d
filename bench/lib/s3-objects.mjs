// The objects that the S3 measurements read, made behind every daemon's back, and what comes to be in the bucket.
import { setTimeout as delay } from 'node:timers/promises'

const PAGE_BYTES = 4096
const PUTS_AT_ONCE = 16
const POLL_MS = 10
const POLL_LIMIT_MS = 300_000

/** Bytes as ovfs-bench wants them: every page begins with its offset plus one, the rest of it is no hole either. */
export function stampedBytes(sizeBytes) {
  const data = Buffer.alloc(sizeBytes, 0x5a)
  for (let offset = 0; offset + 8 <= sizeBytes; offset += PAGE_BYTES) {
    data.writeBigUInt64LE(BigInt(offset + 1), offset)
  }
  return data
}

/** ovfs-bench's name of the nth small file. */
const fileName = (index) => `f-${String(index).padStart(7, '0')}`

export class BucketObjects {
  /** @param {import('../../dist/test/servers/clients.js').S3Client} client */
  constructor(client) {
    this.client = client
  }

  /** A directory's marker, as s3fs, ovfsd and others make it. Its parents must have theirs. */
  async makeDirectory(path) {
    await this.client.put(`${path}/`, '', { headers: { 'content-type': 'application/x-directory' } })
  }

  async makeFile(path, sizeBytes) {
    await this.client.put(path, stampedBytes(sizeBytes))
  }

  /** A directory with `count` files. */
  async makeFiles(path, count, sizeBytes) {
    await this.makeDirectory(path)
    const data = stampedBytes(sizeBytes)
    let next = 0
    const lane = async () => {
      while (next < count) await this.client.put(`${path}/${fileName(next++)}`, data)
    }
    await Promise.all(Array.from({ length: PUTS_AT_ONCE }, lane))
  }

  async removeFile(path) {
    await this.client.delete(path)
  }

  /** Wait until the object is there with all its bytes; resolves to the seconds that took, 0 if it was there at once. */
  untilFile(path, sizeBytes) {
    return until(path, async () => (await this.client.head(path))?.sizeBytes === sizeBytes)
  }

  /** As `untilFile`, for `count` files below a directory. */
  untilFiles(path, count, sizeBytes) {
    return until(path, async () => {
      const { objects } = await this.client.list({ prefix: `${path}/f-` })
      return objects.filter((object) => object.sizeBytes === sizeBytes).length === count
    })
  }
}

async function until(what, isTrue) {
  const start = performance.now()
  if (await isTrue()) return 0
  while (performance.now() - start < POLL_LIMIT_MS) {
    await delay(POLL_MS)
    if (await isTrue()) return (performance.now() - start) / 1000
  }
  throw new Error(`${what} was not in the bucket within ${POLL_LIMIT_MS / 1000} s`)
}
