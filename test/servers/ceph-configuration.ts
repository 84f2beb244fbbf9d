import { randomBytes } from 'node:crypto'

export interface CephConfigurationOptions {
  /** State directory, with log, run, osd and mon in it. */
  readonly directory: string
  readonly fsid: string
  /** `[v2:host:port]`. */
  readonly monitorAddress: string
  /** `host:port` of S3. */
  readonly gatewayAddress: string
  readonly firstOsdPort: number
  readonly lastOsdPort: number
  readonly memoryBytes: number
  /** Directory of the unpacked shared libraries. */
  readonly libraries: string
}

/** ceph.conf for every process of a one-machine cluster. */
export function cephConfiguration(options: CephConfigurationOptions): string {
  const { directory, libraries } = options
  return `[global]
fsid = ${options.fsid}
auth_cluster_required = cephx
auth_service_required = cephx
auth_client_required = cephx
keyring = ${directory}/keyring
mon_host = ${options.monitorAddress}
mon_initial_members = a
public_addr = 127.0.0.1
cluster_addr = 127.0.0.1
# Only the newer wire protocol: half as many ports.
ms_bind_msgr1 = false
ms_bind_port_min = ${options.firstOsdPort}
ms_bind_port_max = ${options.lastOsdPort}

run_dir = ${directory}/run
log_file = ${directory}/log/$name-internal.log
mon_cluster_log_file = ${directory}/log/cluster.log
crash_dir = ${directory}/log
admin_socket =
mon_data = ${directory}/mon
osd_data = ${directory}/osd
rgw_data = ${directory}/run
plugin_dir = ${libraries}/ceph
erasure_code_dir = ${libraries}/ceph/erasure-code
osd_class_dir = ${libraries}/rados-classes

# The monitor gathers changes for a second before it makes a new map. A dozen pools, one map each or more: with the
# default a start takes ten seconds, with this one.
paxos_propose_interval = 0.01
paxos_min_wait = 0.01
mon_allow_pool_size_one = true
# A nearly full disk is no reason not to run a test.
mon_data_avail_crit = 0
mon_data_avail_warn = 0
osd_pool_default_size = 1
osd_pool_default_min_size = 1
osd_pool_default_pg_num = 8
osd_pool_default_pgp_num = 8
osd_pool_default_pg_autoscale_mode = off
osd_crush_chooseleaf_type = 0
osd_crush_update_on_start = false
osd_objectstore = memstore
memstore_device_bytes = ${options.memoryBytes}

# Without tcp_nodelay a small GET waits 40 ms for the client's delayed acknowledgement.
rgw_frontends = beast endpoint=${options.gatewayAddress} tcp_nodelay=1
# There is no other zone to copy from.
rgw_run_sync_thread = false
# A gateway that changes a bucket waits until all gateways know, and for one that was killed until its watch has timed
# out: half a minute by default. Pings must be sent well within the time-out.
osd_client_watch_timeout = 3
objecter_tick_interval = 0.5
debug_rgw = 0
debug_ms = 0
`
}

/** What each of the cluster's parts may do. */
const CAPABILITIES: Readonly<Record<string, readonly string[]>> = {
  'mon.': ['mon = "allow *"'],
  'client.admin': ['mon = "allow *"', 'osd = "allow *"'],
  'client.rgw.a': ['mon = "allow *"', 'osd = "allow *"'],
  'osd.0': ['mon = "allow profile osd"', 'osd = "allow *"'],
}

/** Fresh keys for every part, as ceph-authtool would write them. */
export function cephKeyring(): string {
  const sections = Object.entries(CAPABILITIES).map(([name, capabilities]) =>
    [`[${name}]`, `\tkey = ${cephKey()}`, ...capabilities.map((line) => `\tcaps ${line}`), ''].join('\n'),
  )
  return sections.join('')
}

const KEY_BYTES = 16
const AES_KEY_TYPE = 1

/** A CryptoKey as Ceph encodes it: type (u16), time made (u32 seconds, u32 ns), length (u16), key; little-endian. */
function cephKey(): string {
  const header = Buffer.alloc(12)
  header.writeUInt16LE(AES_KEY_TYPE, 0)
  header.writeUInt32LE(Math.floor(Date.now() / 1000), 2)
  header.writeUInt16LE(KEY_BYTES, 10)
  return Buffer.concat([header, randomBytes(KEY_BYTES)]).toString('base64')
}
