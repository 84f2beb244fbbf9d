/** The stores that the operation tests run on. A store that is added here is tested by all of them. */
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { cephStore, hdfsStore, swiftStore, webdavStore } from './server-stores.js'
import { LINUX_PATH_MAX_BYTES, TRAILING_WHITE_SPACE, type PreparedStore, type Store } from './store.js'
import { directoryView } from './views.js'

export { cephStore, hdfsStore, swiftStore, webdavStore } from './server-stores.js'
export type { PreparedStore, Store, StoreProperties, StoreView } from './store.js'

export const memoryStore: Store = {
  name: 'memory',
  properties: {
    isServer: false,
    isShared: false,
    isObjectStore: false,
    restoresDirectories: false,
    refusedNames: TRAILING_WHITE_SPACE,
    maxPathBytes: LINUX_PATH_MAX_BYTES,
    // Each costs a guest's CREATE, FLUSH and RELEASE.
    manyEntries: 2000,
    mtimeUnitNs: 1,
    refusesTimesBefore1970: false,
    copies: false,
  },
  problem: null,
  prepare: () =>
    Promise.resolve({
      type: 'memory',
      options: {},
      view: null,
      hostDirectory: null,
      dispose: () => Promise.resolve(),
    }),
}

export const directoryStore: Store = {
  name: 'fs',
  properties: {
    isServer: false,
    isShared: true,
    isObjectStore: false,
    restoresDirectories: false,
    refusedNames: null,
    maxPathBytes: LINUX_PATH_MAX_BYTES,
    manyEntries: 10_000,
    mtimeUnitNs: 1,
    refusesTimesBefore1970: false,
    copies: true,
  },
  problem: null,
  prepare: async () => {
    const directory = await mkdtemp(join(tmpdir(), 'ovfsd-store-'))
    return {
      type: 'fs',
      options: { root: directory },
      view: directoryView(directory),
      hostDirectory: directory,
      dispose: () => rm(directory, { recursive: true, force: true }),
    }
  },
}

export const LOCAL_STORES: readonly Store[] = [directoryStore, memoryStore]
export const SERVER_STORES: readonly Store[] = [cephStore, swiftStore, hdfsStore]
export const STORES: readonly Store[] = [...LOCAL_STORES, ...SERVER_STORES]
/** For the suites about names; the rest of WebDAV is in test/servers/backends/other-services.test.ts, to keep the whole run short. */
export const STORES_AND_WEBDAV: readonly Store[] = [...STORES, webdavStore]
/** Those that somebody else can look into. */
export const SHARED_STORES: readonly Store[] = STORES.filter(({ properties }) => properties.isShared)

/** A store whose prepared storage is that of another daemon, which looks after it. */
export function sameStorage(prepared: PreparedStore | undefined): Pick<Store, 'prepare'> {
  if (prepared === undefined) throw new Error('no storage to share')
  return { prepare: () => Promise.resolve({ ...prepared, dispose: () => Promise.resolve() }) }
}
