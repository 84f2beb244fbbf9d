import type { ServerSettings } from './settings.js'

/** Settings by the names that the configuration file has for them. */
const KEYS: Readonly<Record<keyof ServerSettings, string>> = {
  socketPath: 'socket_path',
  socketMode: 'socket_mode',
  socketUsers: 'socket_users',
  socketGroups: 'socket_groups',
  enabledCache: 'enabled_cache',
  writeBack: 'enabled_cache_write_back',
  expirationMs: 'cache_expiration_time',
  cacheSizeBytes: 'cache_size',
  cacheDir: 'cache_dir',
  cacheDirSizeBytes: 'cache_dir_size',
  cacheDirDurability: 'cache_dir_durability',
  dirtyExpireMs: 'dirty_expire',
  dirtyMaxBytes: 'dirty_max',
  requestQueues: 'request_queues',
  maxOpenHandles: 'max_open_handles',
  maxInodes: 'max_inodes',
  pollWindowUs: 'poll_window',
  logLevel: 'log_level',
  guestWriteback: 'guest_writeback',
  waitForReconnect: 'wait_for_reconnect',
  shutdownTimeoutMs: 'shutdown_timeout',
  reloadGraceMs: 'reload_grace',
  requestMetrics: 'request_metrics',
  metricsAddress: 'metrics_address',
  controlSocket: 'control_socket',
  accessLog: 'access_log',
}

/** A setting as the configuration file calls it, for messages. */
export function settingKey(name: keyof ServerSettings): string {
  return KEYS[name]
}
