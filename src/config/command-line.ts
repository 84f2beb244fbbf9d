/** What the command line puts into a configuration: it may name a directory of its own, and stand for a whole file. */
import type { ServerKeys } from './schema.js'
import type { MountSettings, ServerSettings } from './settings.js'

export type GuestCache = MountSettings['guestCache']

/** A directory of the host that the command line names, as virtiofsd's does: the root of the guest's file system. */
export interface SharedDirectory {
  /** Absolute. */
  readonly root: string
  readonly guestCache: GuestCache
  readonly xattr: boolean
  readonly directIo: boolean
  readonly announceSubmounts: boolean
  readonly readOnly: boolean
  readonly posixAcl: boolean
  readonly securityLabel: boolean
  readonly killprivV2: boolean
  readonly allowMmap: boolean
  readonly readdirplus: boolean
  readonly preserveNoatime: boolean
  /** Rules, as a profile has them; absent: the same on both sides. */
  readonly xattrmap?: string
  readonly translateUid?: string
  readonly translateGid?: string
  readonly fileHandles: 'never' | 'prefer' | 'mandatory'
}

/** Values of the command line, which come before those of the file. Already validated. */
export interface Overrides {
  readonly socketPath?: string
  /** The parent process has opened the socket: socket_path says nothing, and is empty in the settings. */
  readonly socketInherited?: true
  readonly socketMode?: number
  readonly logLevel?: ServerSettings['logLevel']
  readonly guestWriteback?: true
  /** Of every mount. */
  readonly readOnly?: true
  readonly sharedDirectory?: SharedDirectory
}

type Table = Readonly<Record<string, unknown>>

/** The name of the shared directory's profile. */
export const SHARED_PROFILE = 'shared-dir'

/** How long the guest believes what it was told, by its cache: as with virtiofsd. */
const EXPIRATION: Readonly<Record<GuestCache, string>> = {
  none: '0',
  metadata: '24h',
  auto: '1s',
  always: '24h',
}

/** The profile of a shared directory, as a file would write it. */
export function sharedProfile(shared: SharedDirectory): Table {
  const { root, guestCache, xattr, directIo, announceSubmounts, readOnly } = shared
  const { xattrmap, translateUid, translateGid } = shared
  return {
    type: 'passthrough',
    mount_point: '/',
    root: literal(root),
    guest_cache: guestCache,
    cache_expiration_time: EXPIRATION[guestCache],
    read_only: readOnly,
    xattr,
    direct_io: directIo,
    announce_submounts: announceSubmounts,
    posix_acl: shared.posixAcl,
    security_label: shared.securityLabel,
    killpriv_v2: shared.killprivV2,
    allow_mmap: shared.allowMmap,
    readdirplus: shared.readdirplus,
    preserve_noatime: shared.preserveNoatime,
    inode_file_handles: shared.fileHandles,
    ...(xattrmap === undefined ? {} : { xattrmap: literal(xattrmap) }),
    ...(translateUid === undefined ? {} : { translate_uid: translateUid }),
    ...(translateGid === undefined ? {} : { translate_gid: translateGid }),
  }
}

/** The characters themselves, and not an environment variable. */
function literal(text: string): string {
  return text.replaceAll('${', () => '$${')
}

/** `[ovfsd_settings]` with what the command line says and the schema requires, and with virtiofsd's defaults for its use. */
export function withCommandLine(table: Table, overrides: Overrides): Table {
  const { socketPath, socketInherited, sharedDirectory } = overrides
  const socket = socketPath ?? (socketInherited === true ? 'inherited' : undefined)
  return {
    // A daemon that was started for one virtual machine ends with it; only its owner may connect.
    ...(sharedDirectory === undefined ? {} : { wait_for_reconnect: false, socket_mode: '0700' }),
    ...(socket === undefined ? {} : { socket_path: socket }),
    ...table,
  }
}

/** The keys of the file with the command line's in their place. */
export function overridden(keys: ServerKeys, overrides: Overrides): ServerKeys {
  const { socketPath, socketInherited, socketMode, logLevel, guestWriteback } = overrides
  return {
    ...keys,
    socket_path: socketInherited === true ? '' : (socketPath ?? keys.socket_path),
    socket_mode: socketMode ?? keys.socket_mode,
    log_level: logLevel ?? keys.log_level,
    guest_writeback: guestWriteback ?? keys.guest_writeback,
  }
}
