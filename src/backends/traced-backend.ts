/** Shows each call of a store as a span. */
import {
  isTracing,
  traced,
  type SpanAttributes,
  type SpanSubject,
  type TracedPlace,
} from '../observability/traced.js'
import { isLocalMember, type Backend, type BackendWriter } from './backend.js'

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
  const methods = new Map<string | symbol, unknown>()
  return new Proxy<Backend>(backend, {
    get(target, key): unknown {
      const known = methods.get(key)
      if (known !== undefined) return known
      const value: unknown = Reflect.get(target, key, target)
      // What can be said without the store.
      if (typeof value !== 'function' || isLocalMember(key)) return value
      const method = value as (...args: unknown[]) => Promise<unknown>
      const shown = tracedMethod(String(key), (args) => method.apply(target, args), place)
      methods.set(key, shown)
      return shown
    },
  })
}

function tracedMethod(name: string, call: (args: unknown[]) => Promise<unknown>, place: TracedPlace) {
  return (...args: unknown[]): Promise<unknown> => {
    if (!isTracing()) return call(args)
    const path = typeof args[0] === 'string' ? args[0] : ''
    const subject = (): SpanSubject =>
      place.subject(path, {
        attributes: ATTRIBUTES[name]?.(args) ?? {},
        result: (value) => RESULTS[name]?.(value) ?? {},
      })
    const made = traced(`backend.${name}`, subject, () => call(args))
    if (name !== 'createWriter') return made
    return made.then((writer) => tracedWriter(writer as BackendWriter, place, path))
  }
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
