/** What stands behind the arguments of a request that makes something: struct fuse_ext_header and what it leads. */
import { FsError } from '../fs/fs-error.js'
import { IN_GROUP } from '../passthrough/host-calls.js'
import type { HostInode } from '../passthrough/host-inode.js'
import type { Caller, NameBytes } from '../passthrough/names.js'
import type { Passthrough } from '../passthrough/passthrough.js'
import { setXattr } from '../passthrough/xattrs.js'
import { EXT_GROUPS } from './fuse-abi.js'
import type { Request } from './request.js'

/** struct fuse_ext_header, and struct fuse_secctx_header, which looks alike. */
const HEADER_BYTES = 8
/** struct fuse_secctx. */
const SECCTX_BYTES = 8

/** An extended attribute that the file is to have from the beginning on. */
export interface Label {
  readonly name: Buffer
  readonly value: Buffer
}

export interface Creator extends Caller {
  readonly labels: readonly Label[]
}

const NO_LABELS: readonly Label[] = []

/** Who makes something in `directory`, in the host's ids. EPERM where the guest's may not be used. */
export function creatorOf({ mount }: HostInode, request: Request, umask: number): Creator {
  const { uids, gids, securityLabel } = mount.options
  const uid = uids === null ? request.uid : uids.toHost(request.uid)
  const gid = gids === null ? request.gid : gids.toHost(request.gid)
  const maskBits = umask & 0o777
  if (request.extensionBytes === 0) return { uid, gid, how: maskBits, labels: NO_LABELS }
  const { isInGroup, labels } = decodeExtensions(request)
  return { uid, gid, how: maskBits | (isInGroup ? IN_GROUP : 0), labels: securityLabel ? labels : NO_LABELS }
}

function decodeExtensions(request: Request): { readonly isInGroup: boolean; readonly labels: Label[] } {
  const bytes = Buffer.alloc(request.extensionBytes)
  if (request.argumentBytes < bytes.byteLength)
    throw new FsError('EINVAL', 'a request is shorter than its extensions')
  if (!request.pullArguments(request.argumentBytes - bytes.byteLength, bytes))
    throw new FsError('EIO', 'the front-end took its memory away')
  const labels: Label[] = []
  let isInGroup = false
  for (let position = 0; position < bytes.byteLength;) {
    const sizeBytes = wordAt(bytes, position)
    if (sizeBytes < HEADER_BYTES || position + sizeBytes > bytes.byteLength)
      throw new FsError('EINVAL', 'an extension of a request has no end')
    const type = wordAt(bytes, position + 4)
    const extension = bytes.subarray(position + HEADER_BYTES, position + sizeBytes)
    // The guest's kernel names the directory's group, where the caller is in it by another than its first one.
    if (type === EXT_GROUPS) isInGroup = extension.byteLength >= 8 && wordAt(extension, 0) > 0
    else if (type < EXT_GROUPS) labels.push(...labelsIn(extension, type))
    position += sizeBytes
  }
  return { isInGroup, labels }
}

function* labelsIn(bytes: Buffer, count: number): Generator<Label> {
  let position = 0
  for (let index = 0; index < count; index++) {
    const sizeBytes = wordAt(bytes, position)
    const nameStart = position + SECCTX_BYTES
    const nameEnd = bytes.indexOf(0, nameStart)
    const valueEnd = nameEnd + 1 + sizeBytes
    if (nameEnd < 0 || valueEnd > bytes.byteLength) throw new FsError('EINVAL', 'a label has no end')
    if (sizeBytes > 0)
      yield { name: bytes.subarray(nameStart, nameEnd), value: bytes.subarray(nameEnd + 1, valueEnd) }
    position = (valueEnd + 7) & ~7
  }
}

function wordAt(bytes: Buffer, position: number): number {
  if (position + 4 > bytes.byteLength) throw new FsError('EINVAL', 'an extension of a request has no end')
  return bytes.readUInt32LE(position)
}

function allOf(bytes: Buffer): NameBytes {
  return { bytes, start: 0, length: bytes.byteLength }
}

/** Give what was just made its labels; `takeBack` removes it where the host refuses them. */
export function applyLabels(
  pt: Passthrough,
  inode: HostInode,
  { labels }: Creator,
  takeBack: () => void,
): void {
  if (labels.length === 0) return
  try {
    for (const { name, value } of labels) {
      setXattr(pt, inode, allOf(name), allOf(value), 0)
    }
    pt.lookAt(inode)
  } catch (error) {
    takeBack()
    throw error
  }
}
