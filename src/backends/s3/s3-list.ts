/** One page of a list of objects (ListObjectsV2). */
import type { S3Client } from './s3-client.js'
import { quoteEtag } from './s3-client.js'
import { elementsOf, elementText } from './s3-xml.js'

export interface S3ListedObject {
  readonly key: string
  readonly sizeBytes: number
  readonly etag: string
  /** RFC 3339. */
  readonly lastModified: string | null
}

export interface S3Page {
  readonly objects: readonly S3ListedObject[]
  /** What stands before the next "/" of longer keys, that "/" included. */
  readonly prefixes: readonly string[]
  /** There is more. */
  readonly isTruncated: boolean
}

/** Keys that begin with `prefix`, up to the next "/": at most `maxKeys` (1 to 1000) of them and of what stands for longer ones. */
export async function listPage(client: S3Client, prefix: string, maxKeys: number): Promise<S3Page> {
  const query = { 'list-type': '2', delimiter: '/', 'max-keys': String(maxKeys), prefix }
  return parsePage(await client.list(query))
}

export function parsePage(xml: string): S3Page {
  const objects = Array.from(elementsOf(xml, 'Contents'), (element) => ({
    key: elementText(element, 'Key') ?? '',
    sizeBytes: Number(elementText(element, 'Size') ?? 0),
    etag: quoteEtag(elementText(element, 'ETag') ?? ''),
    lastModified: elementText(element, 'LastModified'),
  }))
  const prefixes = Array.from(
    elementsOf(xml, 'CommonPrefixes'),
    (element) => elementText(element, 'Prefix') ?? '',
  )
  return { objects, prefixes, isTruncated: elementText(xml, 'IsTruncated') === 'true' }
}
