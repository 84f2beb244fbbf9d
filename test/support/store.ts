/** What a store of the tests is: how it is mounted, how others look into it, and what SEMANTICS.md says of it. */

/** PATH_MAX without its NUL. */
export const LINUX_PATH_MAX_BYTES = 4095
/** What OpenDAL cuts off. */
export const TRAILING_WHITE_SPACE = /\s$/u

/**
 * Somebody else's access to the same storage: how a test sees what is really stored, and how it changes the storage
 * behind the daemon's back. Paths are relative to the mount's root.
 */
export interface StoreView {
  /** What is stored at `path`, null when nothing is. */
  read(path: string): Promise<Buffer | null>
  /** Replace in one step, as another program does. */
  write(path: string, data: string | Uint8Array): Promise<void>
  mkdir(path: string): Promise<void>
  /** Remove a file. */
  remove(path: string): Promise<void>
  /** Remove a directory with all that is below. */
  removeTree(path: string): Promise<void>
  /** Every path below the root, sorted; directories end in "/". The daemon's own directory included. */
  paths(): Promise<string[]>
}

/** A store that is ready to be mounted, by itself or at several places. */
export interface PreparedStore {
  readonly type: string
  /** The profile's own options. */
  readonly options: Readonly<Record<string, string>>
  /** null where nobody but the daemon can reach the storage. */
  readonly view: StoreView | null
  /** The host's directory; null for other stores. */
  readonly hostDirectory: string | null
  dispose(): Promise<void>
}

/** What SEMANTICS.md promises of a store where stores differ: the tests assert each store's own. */
export interface StoreProperties {
  /** A server over a network: what takes a local store hundreds of requests is tried with fewer and smaller ones. */
  readonly isServer: boolean
  /** Somebody else can reach the storage: a prepared store has a view. */
  readonly isShared: boolean
  /** A directory is there by an object "dir/" or by what is below it; a name is a key. */
  readonly isObjectStore: boolean
  /** A file that is stored brings its directory back, where somebody else has removed that. */
  readonly restoresDirectories: boolean
  /** Names that the store cannot hold: EINVAL; null where it holds all. */
  readonly refusedNames: RegExp | null
  /** The longest path that the store takes, bytes. */
  readonly maxPathBytes: number
  /** utimens: nanoseconds that a stored time is a multiple of; null where it is kept only while the daemon knows the file. */
  readonly mtimeUnitNs: number | null
  /** utimens: times before 1970 are EINVAL. */
  readonly refusesTimesBefore1970: boolean
  /** A directory of this many entries shows that a long listing is put together: more than a page of the store's, where it is cheap to fill one. */
  readonly manyEntries: number
  /** copy_file_range of a whole file is done by the store. */
  readonly copies: boolean
}

export interface Store {
  readonly name: string
  readonly properties: StoreProperties
  /** Why its tests cannot run here; null when they can. */
  readonly problem: string | null
  prepare(): Promise<PreparedStore>
}
