/** Shows each call of a store as a span. */
import {
  isTracing,
  traced,
  type SpanAttributes,
  type SpanSubject,
  type TracedPlace,
} from '../../observability/traced.js'
import type { Backend, DirectoryPage } from '../backend.js'
import { BackendLayer, type BackendCall, type BackendMethod } from './backend-layer.js'
import type { WriterCall } from './layered-writer.js'

/** What a call says, beside the path. */
const ATTRIBUTES: Partial<Record<BackendMethod, (call: BackendCall) => SpanAttributes>> = {
  read: ({ offset, sizeBytes }) => ({ 'ovfsd.offset': offset, 'ovfsd.size': sizeBytes }),
  write: ({ sizeBytes }) => ({ 'ovfsd.size': sizeBytes }),
  append: ({ sizeBytes }) => ({ 'ovfsd.size': sizeBytes }),
  rename: ({ to }) => ({ 'ovfsd.new_path': to }),
  copy: ({ to }) => ({ 'ovfsd.new_path': to }),
  keepAside: ({ to }) => ({ 'ovfsd.new_path': to }),
}

/** What their results say. */
const RESULTS: Partial<Record<BackendMethod, (value: unknown) => SpanAttributes>> = {
  read: (data) => ({ 'ovfsd.bytes': (data as Uint8Array).byteLength }),
  list: (entries) => ({ 'ovfsd.entries': (entries as readonly unknown[]).length }),
  listPage: (page) => ({ 'ovfsd.entries': (page as DirectoryPage).entries.length }),
  listSmall: (entries) => ({ 'ovfsd.entries': (entries as readonly unknown[] | null)?.length }),
  stat: (stat) => ({ 'ovfsd.found': stat !== null }),
}

/** The calls are spans while anything is traced; of an upload that began before, those that come then. */
export class TracedBackend extends BackendLayer {
  constructor(
    inner: Backend,
    private readonly place: TracedPlace,
  ) {
    super(inner)
  }

  protected override around<T>(call: BackendCall, run: (store: Backend) => Promise<T>): Promise<T> {
    if (!isTracing()) return run(this.inner)
    const { method, path } = call
    const subject = (): SpanSubject =>
      this.place.subject(path, {
        attributes: ATTRIBUTES[method]?.(call) ?? {},
        result: (value) => RESULTS[method]?.(value) ?? {},
      })
    return traced(`backend.${method}`, subject, () => run(this.inner))
  }

  protected override aroundUpload<T>(call: WriterCall, run: () => Promise<T>): Promise<T> {
    if (!isTracing()) return run()
    const { method, path, sizeBytes } = call
    const attributes = method === 'writer.write' ? { 'ovfsd.size': sizeBytes } : {}
    return traced(`backend.${method}`, () => this.place.subject(path, { attributes }), run)
  }
}
