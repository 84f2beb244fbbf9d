/** One page of a list of objects: ListObjectsV2, or the first version where the profile says so. */
import { byteCountOf } from '../http/byte-count.js'
import type { ListedObject, ObjectPage, PageRequest } from '../objects/object-client.js'
import { ownText } from '../own-text.js'
import { StorageError } from '../storage-error.js'
import { timestampOfRfc3339 } from '../timestamp.js'
import { versionOf } from './s3-head.js'
import { quoteEtag, type S3Client } from './s3-client.js'
import { elementsOf, elementText } from './s3-xml.js'

/** What stands in XML for a character that it cannot hold, where a server does not write such as a reference. */
const REPLACEMENT_CHARACTER = '\ufffd'

/** `request.prefix` and the keys are those of the bucket. */
export async function listPage(client: S3Client, request: PageRequest): Promise<ObjectPage> {
  const query = queryOf(request, client.options.listsByVersion1)
  const parse = (xml: string): ObjectPage => parsePage(xml, client.options.listsByVersion1, request)
  const page = parse(await client.list(query))
  if (![...page.objects.map(({ key }) => key), ...page.prefixes].some(mayBeReplaced)) return page
  // Not always: what a "+" means in such an answer differs from server to server.
  return parse(await client.list({ ...query, 'encoding-type': 'url' }))
}

function mayBeReplaced(key: string): boolean {
  return key.includes(REPLACEMENT_CHARACTER)
}

function queryOf(
  { prefix, isFlat, token, maxKeys }: PageRequest,
  byVersion1: boolean,
): Readonly<Record<string, string>> {
  return {
    ...(byVersion1 ? {} : { 'list-type': '2' }),
    ...(isFlat ? { delimiter: '/' } : {}),
    ...(maxKeys === undefined ? {} : { 'max-keys': String(maxKeys) }),
    ...(token === null ? {} : { [byVersion1 ? 'marker' : 'continuation-token']: token }),
    prefix,
  }
}

/** @throws StorageError EIO for what is no page, or has no way to the next one */
export function parsePage(
  xml: string,
  byVersion1: boolean,
  { prefix, token }: Pick<PageRequest, 'prefix' | 'token'>,
): ObjectPage {
  if (!xml.includes('<ListBucketResult')) throw brokenList(prefix, 'the answer is no list')
  const decode = decoderOf(xml)
  const objects = Array.from(elementsOf(xml, 'Contents'), (element) => objectOf(element, decode))
  const prefixes = Array.from(elementsOf(xml, 'CommonPrefixes'), (element) =>
    ownText(decode(elementText(element, 'Prefix') ?? '')),
  )
  for (const key of [...objects.map(({ key }) => key), ...prefixes])
    if (!key.startsWith(prefix)) throw brokenList(prefix, `has ${JSON.stringify(key)}, which is not below it`)
  const isTruncated = elementText(xml, 'IsTruncated') === 'true'
  const next = isTruncated ? tokenOf(xml, byVersion1, objects, prefixes, decode) : null
  if (isTruncated && (next === null || next === token))
    throw brokenList(prefix, 'there is more, and no way to it')
  return { objects, prefixes, next: next === null ? null : ownText(next) }
}

function objectOf(element: string, decode: (text: string) => string): ListedObject {
  const sizeBytes = byteCountOf(elementText(element, 'Size'))
  const mtime = timestampOfRfc3339(elementText(element, 'LastModified'))
  const etag = ownText(quoteEtag(elementText(element, 'ETag') ?? ''))
  const version = sizeBytes === null ? etag : versionOf(etag, mtime, sizeBytes)
  return { key: ownText(decode(elementText(element, 'Key') ?? '')), sizeBytes, version, mtime }
}

function tokenOf(
  xml: string,
  byVersion1: boolean,
  objects: readonly ListedObject[],
  prefixes: readonly string[],
  decode: (text: string) => string,
): string | null {
  if (!byVersion1) return elementText(xml, 'NextContinuationToken')
  const told = elementText(xml, 'NextMarker')
  if (told !== null && told !== '') return decode(told)
  // S3 tells it only of lists with a delimiter; else it is the last key.
  const last = [objects.at(-1)?.key, prefixes.at(-1)].filter((key) => key !== undefined)
  return last.sort((a, b) => Buffer.compare(Buffer.from(a), Buffer.from(b))).at(-1) ?? null
}

/** How keys are written in this answer. */
function decoderOf(xml: string): (text: string) => string {
  if (elementText(xml, 'EncodingType') !== 'url') return (text) => text
  // A server that writes a space as "%20" leaves a "+" as it is; others write "+" for a space.
  const spaced = xml.includes('%20') ? (text: string): string => text : spacesOfPlus
  return (text) => {
    try {
      return decodeURIComponent(spaced(text))
    } catch {
      return text
    }
  }
}

function spacesOfPlus(text: string): string {
  return text.replaceAll('+', ' ')
}

function brokenList(prefix: string, what: string): StorageError {
  return new StorageError('EIO', `the list of ${JSON.stringify(prefix)}: ${what}`, { retryable: true })
}
