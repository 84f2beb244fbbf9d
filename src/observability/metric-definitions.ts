/**
 * All metrics, by the conventions of Prometheus: base units, `_total` for what only grows. METRICS.md is made of this table (`npm run docs`)
 * and the exporter (src/control/metrics.ts) exports what is in it and nothing else.
 */

export interface MetricDefinition {
  readonly name: string
  readonly type: 'counter' | 'gauge' | 'histogram'
  readonly help: string
  readonly labels: readonly string[]
}

/** Under these headings METRICS.md shows them. */
export const METRIC_GROUPS = ['requests', 'cache', 'stores', 'daemon', 'process'] as const
export type MetricGroup = (typeof METRIC_GROUPS)[number]

const OPERATION = ['mount', 'operation'] as const
const MOUNT = ['mount'] as const
const ERRNO = ['mount', 'operation', 'errno'] as const

function counter(name: string, labels: readonly string[], help: string): MetricDefinition {
  return { name, type: 'counter', labels, help }
}

function gauge(name: string, labels: readonly string[], help: string): MetricDefinition {
  return { name, type: 'gauge', labels, help }
}

function histogram(name: string, labels: readonly string[], help: string): MetricDefinition {
  return { name, type: 'histogram', labels, help }
}

const requests = {
  operations: counter('ovfsd_operations_total', OPERATION, 'Requests of the guest that were answered.'),
  operationErrors: counter(
    'ovfsd_operation_errors_total',
    ERRNO,
    'Of these, those that were answered with an error. A look-up of a name that is not there is none: the guest is told so, and may keep it.',
  ),
  operationSeconds: histogram(
    'ovfsd_operation_duration_seconds',
    OPERATION,
    'From the moment the daemon sees a request until its answer is in guest memory. Requests that arrive together and are answered from memory are answered together, after the time for all.',
  ),
  readBytes: counter(
    'ovfsd_read_bytes_total',
    MOUNT,
    'Data that guests got, which may be less than they asked for.',
  ),
  writtenBytes: counter('ovfsd_written_bytes_total', MOUNT, 'Data of guests that was taken.'),
  inFlight: gauge(
    'ovfsd_requests_in_flight',
    [],
    'Requests that were taken from the queues and are not answered yet: the depth of the queue.',
  ),
  inFlightLimit: gauge(
    'ovfsd_requests_in_flight_limit',
    [],
    'The most requests that are taken at once; others wait in the queues.',
  ),
  bursts: counter(
    'ovfsd_bursts_total',
    [],
    'Times that requests were found in the queues; operations per burst is how many came together.',
  ),
  isConnected: gauge('ovfsd_frontend_connected', [], '1 while a front-end (QEMU) is connected.'),
} as const

const cache = {
  cacheHits: counter('ovfsd_cache_hits_total', MOUNT, 'Reads that were answered from memory at once.'),
  cacheMisses: counter(
    'ovfsd_cache_misses_total',
    MOUNT,
    'Reads that had to wait, for the store or for data that is already being read ahead.',
  ),
  cacheEvictions: counter(
    'ovfsd_cache_evictions_total',
    MOUNT,
    'Blocks of the mount that were given up to make room.',
  ),
  readAheadFetched: counter(
    'ovfsd_read_ahead_fetched_bytes_total',
    MOUNT,
    'Data that was fetched before anybody asked for it, small files that were opened included.',
  ),
  readAheadUsed: counter(
    'ovfsd_read_ahead_used_bytes_total',
    MOUNT,
    'Of this, what was read afterwards; counted by block, and at most once what was fetched.',
  ),
  dirtyBytes: gauge(
    'ovfsd_cache_dirty_bytes',
    MOUNT,
    'Memory of the cache that holds data which the store does not have yet, in whole blocks.',
  ),
  dirtyFiles: gauge(
    'ovfsd_cache_dirty_files',
    MOUNT,
    'Files with something that the store does not have yet.',
  ),
  dirtyAge: gauge(
    'ovfsd_cache_dirty_age_seconds',
    MOUNT,
    'How long the oldest of them has had it; 0 when there is none.',
  ),
  lostFiles: counter(
    'ovfsd_lost_files_total',
    MOUNT,
    'Files of which data was lost that the guest had written, since the store refused it for good. Of mounts that have gone, too.',
  ),
  conflicts: counter(
    'ovfsd_conflicts_total',
    MOUNT,
    'Files that others had changed meanwhile, so that the version of the guest is kept elsewhere. Of mounts that have gone, too.',
  ),
  cacheSize: gauge('ovfsd_cache_size_bytes', [], 'The cache: `cache_size`.'),
  cacheUsed: gauge('ovfsd_cache_used_bytes', [], 'Of the cache, what holds blocks.'),
  cacheWaiters: gauge('ovfsd_cache_waiting_requests', [], 'Requests that wait for room in the cache.'),
  diskSize: gauge(
    'ovfsd_disk_cache_size_bytes',
    [],
    'The second tier, on the local disk; absent without `cache_dir`.',
  ),
  diskUsed: gauge('ovfsd_disk_cache_used_bytes', [], 'Of the second tier, what is in use.'),
  diskHits: counter('ovfsd_disk_cache_hits_total', [], 'Reads of stores that the second tier answered.'),
  diskMisses: counter('ovfsd_disk_cache_misses_total', [], 'Reads of stores that it could not answer.'),
  diskEvictions: counter(
    'ovfsd_disk_cache_evictions_total',
    [],
    'Pieces that were given up there to make room.',
  ),
  diskErrors: counter(
    'ovfsd_disk_cache_errors_total',
    [],
    'Pieces that the disk gave back as other bytes, or not at all; the store was asked.',
  ),
} as const

const stores = {
  backendRequests: counter(
    'ovfsd_backend_requests_total',
    OPERATION,
    'Calls of the store that ended. One may be several requests over the network: pages of a listing, a copy and a removal.',
  ),
  backendErrors: counter('ovfsd_backend_errors_total', ERRNO, 'Of these, those that failed.'),
  backendSeconds: histogram(
    'ovfsd_backend_request_duration_seconds',
    OPERATION,
    'From a call of the store until its end, retries included.',
  ),
  backendInFlight: gauge('ovfsd_backend_requests_in_flight', MOUNT, 'Calls of the store under way.'),
  backendReadBytes: counter(
    'ovfsd_backend_read_bytes_total',
    MOUNT,
    'Contents of files that came from the store.',
  ),
  backendWrittenBytes: counter(
    'ovfsd_backend_written_bytes_total',
    MOUNT,
    'Contents of files that the store took.',
  ),
  unlistable: gauge(
    'ovfsd_backend_unlistable_names',
    MOUNT,
    'Names of objects that listings left out, since no file can have them.',
  ),
  backendRetries: counter(
    'ovfsd_backend_retries_total',
    MOUNT,
    "HTTP requests that were sent again after a failure. Only the daemon's own clients tell: all of `swift`, `hdfs` and `webhdfs`; of `s3`, uploads in parts and attributes; of `webdav` and `http`, looks at names and moves. What OpenDAL repeats shows in the latency only.",
  ),
  circuitOpen: gauge(
    'ovfsd_backend_circuit_open',
    MOUNT,
    '1 while the store is left alone because it does not answer, and requests that need it fail at once.',
  ),
} as const

const daemon = {
  mountInfo: gauge('ovfsd_mount_info', ['mount', 'type'], 'Always 1; for each mount, what it is.'),
  inodes: gauge('ovfsd_inodes', [], 'Files and directories that the guest knows.'),
  openFiles: gauge('ovfsd_open_files', [], 'Open files of the guest.'),
  openDirectories: gauge('ovfsd_open_directories', [], 'Open directories of the guest.'),
  inodesLimit: gauge('ovfsd_inodes_limit', [], 'The most that the guest may know: `max_inodes`.'),
  openHandlesLimit: gauge(
    'ovfsd_open_handles_limit',
    [],
    'The most files and directories together that the guest may have open: `max_open_handles`.',
  ),
  missingNames: gauge(
    'ovfsd_missing_names',
    [],
    'Names that are known to lead nowhere, so that no store is asked for them.',
  ),
  hostDescriptors: gauge(
    'ovfsd_host_descriptors',
    [],
    'File descriptors of the host that pass-through mounts hold for the guest.',
  ),
  hostDescriptorsLimit: gauge(
    'ovfsd_host_descriptors_limit',
    [],
    'The most that they may hold, by the limit of open files of the process.',
  ),
  loopLagMean: gauge(
    'ovfsd_event_loop_lag_mean_seconds',
    [],
    'How late timers of the daemon were, on average since the metrics were last read.',
  ),
  loopLagP99: gauge('ovfsd_event_loop_lag_p99_seconds', [], 'The same, 99th percentile.'),
  loopLagMax: gauge('ovfsd_event_loop_lag_max_seconds', [], 'The same, the latest.'),
  buildInfo: gauge('ovfsd_build_info', ['version', 'node_version'], 'Always 1; what is running.'),
} as const

/** By the names that every exporter has for them. */
const process = {
  residentBytes: gauge('process_resident_memory_bytes', [], 'Memory of the daemon, the cache included.'),
  heapBytes: gauge('nodejs_heap_size_used_bytes', [], "Of this, what is in use of V8's heap."),
  cpuSeconds: counter('process_cpu_seconds_total', [], 'Processor time of all threads, user and system.'),
  startTime: gauge(
    'process_start_time_seconds',
    [],
    'When the daemon was started, since the epoch; `time() - process_start_time_seconds` is its uptime.',
  ),
} as const

const groups = { requests, cache, stores, daemon, process } as const

/** The metrics of each group, by the names that the exporter has for them. */
export const METRICS_BY_GROUP: Readonly<Record<MetricGroup, Readonly<Record<string, MetricDefinition>>>> =
  groups

export const METRICS = { ...requests, ...cache, ...stores, ...daemon, ...process } as const

export type MetricKey = keyof typeof METRICS
