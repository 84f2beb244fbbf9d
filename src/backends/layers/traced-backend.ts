/** Shows each call of a store as a span. */
import {
  isTracing,
  traced,
  type SpanAttributes,
  type SpanSubject,
  type TracedPlace,
} from '../../observability/traced.js'
import type { Backend, BackendWriter } from '../backend.js'
import { interceptCalls } from './intercept.js'

type Arguments = readonly unknown[]

/** What the arguments of a call say, beside the path, which is the first. */
const ATTRIBUTES: Readonly<Record<string, (args: Arguments) => SpanAttributes>> = {
  read: ([, offset, size]) => ({ 'ovfsd.offset': offset as number, 'ovfsd.size': size as number }),
  write: ([, data]) => ({ 'ovfsd.size': sizeOf(data) }),
  append: ([, data]) => ({ 'ovfsd.size': sizeOf(data) }),
  rename: ([, to]) => ({ 'ovfsd.new_path': to as string }),
  copy: ([, to]) => ({ 'ovfsd.new_path': to as string }),
}

/** What their results say. */
const RESULTS: Readonly<Record<string, (value: unknown) => SpanAttributes>> = {
  read: (data) => ({ 'ovfsd.bytes': sizeOf(data) }),
  list: (entries) => ({ 'ovfsd.entries': (entries as readonly unknown[]).length }),
  listSmall: (entries) => ({ 'ovfsd.entries': (entries as readonly unknown[] | null)?.length }),
  stat: (stat) => ({ 'ovfsd.found': stat !== null }),
}

function sizeOf(data: unknown): number {
  return (data as Uint8Array).byteLength
}

/** The same store, whose calls are spans while anything is traced. */
export function tracedBackend(backend: Backend, place: TracedPlace): Backend {
  return interceptCalls(backend, (name, args, run) => {
    if (!isTracing()) return run()
    const path = typeof args[0] === 'string' ? args[0] : ''
    const subject = (): SpanSubject =>
      place.subject(path, {
        attributes: ATTRIBUTES[name]?.(args) ?? {},
        result: (value) => RESULTS[name]?.(value) ?? {},
      })
    const made = traced(`backend.${name}`, subject, run)
    if (name !== 'createWriter') return made
    return made.then((writer) => tracedWriter(writer as BackendWriter, place, path))
  })
}

/** An upload that began before anything was traced has no spans. */
function tracedWriter(writer: BackendWriter, place: TracedPlace, path: string): BackendWriter {
  const about = (attributes: SpanAttributes) => () => place.subject(path, { attributes })
  return {
    write: (data) =>
      traced('backend.writer.write', about({ 'ovfsd.size': data.byteLength }), () => writer.write(data)),
    whenSent: (data) => writer.whenSent?.(data) ?? Promise.resolve(),
    close: () => traced('backend.writer.close', about({}), () => writer.close()),
    abort: () => traced('backend.writer.abort', about({}), () => writer.abort()),
  }
}
