/** What spans say, by the names of docs/guides/tracing.md. */
import { SpanStatusCode, type Attributes, type Span } from '@opentelemetry/api'
import { ATTR_ERROR_TYPE } from '@opentelemetry/semantic-conventions'
import { errnoName } from './errno-name.js'
import type { RequestRecord } from './request-record.js'
import type { SpanSubject } from './traced.js'

/** Answers that tell what there is and what can be done, and are no failures. */
const EXPECTED_ANSWERS: Readonly<Record<string, readonly string[]>> = {
  lookup: ['ENOENT'],
  access: ['EACCES'],
  getxattr: ['ENODATA', 'ERANGE', 'EOPNOTSUPP'],
  listxattr: ['ERANGE', 'EOPNOTSUPP'],
  removexattr: ['ENODATA'],
  lseek: ['ENXIO'],
}
/** Of any operation: it does not exist here, and the guest's kernel will do without. */
const NOT_OFFERED = 'ENOSYS'

/** What is known when a request begins. */
export function requestAttributes(record: RequestRecord): Attributes {
  const { mount, path, newPath, operation, uid, gid, pid, nodeid, fh, sizeBytes, offset } = record
  return {
    'ovfsd.mount': mount,
    'ovfsd.operation': operation,
    'file.path': path,
    'ovfsd.uid': uid,
    'ovfsd.gid': gid,
    'ovfsd.pid': pid,
    'ovfsd.nodeid': nodeid,
    ...(newPath === null ? {} : { 'ovfsd.new_path': newPath }),
    ...(fh === null ? {} : { 'ovfsd.fh': fh }),
    ...(sizeBytes === null ? {} : { 'ovfsd.size': sizeBytes }),
    ...(offset === null ? {} : { 'ovfsd.offset': offset }),
  }
}

/** What is known when it has ended. */
export function setOutcome(span: Span, { operation, errno, bytes, openedFh }: RequestRecord): void {
  span.setAttribute('ovfsd.bytes', bytes)
  span.setAttribute('ovfsd.errno', errno)
  if (openedFh !== null) span.setAttribute('ovfsd.fh', openedFh)
  if (errno === 0) return
  const name = errnoName(errno)
  span.setAttribute('ovfsd.errno_name', name)
  if (name !== NOT_OFFERED && EXPECTED_ANSWERS[operation]?.includes(name) !== true) setError(span, name)
}

export function subjectAttributes({ mount, path, attributes }: SpanSubject): Attributes {
  return { 'ovfsd.mount': mount, 'file.path': path, ...attributes }
}

/** The errors of stores have an errno by name. Their messages stay in the log, where secrets are hidden. */
export function setFailure(span: Span, error: unknown): void {
  const { errno, code, name } = (error ?? {}) as Readonly<Record<string, unknown>>
  const type = [errno, code, name].find((value) => typeof value === 'string') ?? 'unknown'
  setError(span, type)
}

function setError(span: Span, type: string): void {
  span.setAttribute(ATTR_ERROR_TYPE, type)
  span.setStatus({ code: SpanStatusCode.ERROR, message: type })
}
