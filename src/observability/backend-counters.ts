import { OperationCounters } from './operation-counters.js'

/** What the calls of stores are called in metrics and traces, by the methods of Backend and, after a dot, of BackendWriter. */
const OPERATION_OF_METHOD: Readonly<Record<string, string>> = {
  stat: 'stat',
  list: 'list',
  listPage: 'list',
  listSmall: 'list',
  read: 'read',
  write: 'write',
  createWriter: 'begin_upload',
  'writer.write': 'upload_part',
  'writer.close': 'finish_upload',
  'writer.abort': 'abort_upload',
  identify: 'identify',
  append: 'append',
  copy: 'copy',
  createDirectory: 'create_directory',
  removeDirectory: 'remove_directory',
  removeFile: 'remove_file',
  rename: 'rename',
  syncNames: 'sync_names',
  keepAside: 'keep_aside',
  setModificationTime: 'set_modification_time',
  setAttributes: 'set_attributes',
  removeLeftovers: 'remove_leftovers',
  usage: 'usage',
}

const METHODS = Object.keys(OPERATION_OF_METHOD)
const OPERATION_BY_INDEX = METHODS.map((method) => OPERATION_OF_METHOD[method] as string)

/** Each name once. */
export const BACKEND_OPERATION_NAMES: readonly string[] = [...new Set(OPERATION_BY_INDEX)]

const INDEX_OF_METHOD = new Map(METHODS.map((method, index) => [method, index]))

/** The index of a method in BackendCounters. */
export function backendOperationIndex(method: string): number {
  const index = INDEX_OF_METHOD.get(method)
  if (index === undefined) throw new Error(`calls of ${method} have no name`)
  return index
}

export function backendOperationName(index: number): string {
  return OPERATION_BY_INDEX[index] as string
}

/** What was asked of one mount's store, whichever backend objects it had. */
export class BackendCounters {
  /** By backendOperationIndex. */
  readonly operations = new OperationCounters(OPERATION_BY_INDEX)
  /** Calls under way. */
  inFlight = 0
  /** Requests that the backend's own HTTP client has sent again. */
  retries = 0
  /** The present backend's circuit breaker; null: it has none. */
  circuit: { readonly isOpen: boolean } | null = null
}
