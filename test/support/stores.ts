/**
 * The stores that the operation tests run on. A store that is added here is tested by all of them.
 *
 * A `StoreView` is somebody else's access to the same storage: how a test sees what is really stored, and how it
 * changes the storage behind the daemon's back.
 */
import { mkdir, mkdtemp, readdir, readFile, rename, rm, unlink, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'

export interface StoreView {
  /** What is stored at `path`, null when nothing is. */
  read(path: string): Promise<Buffer | null>
  /** Replace in one step, as another program does. */
  write(path: string, data: string | Uint8Array): Promise<void>
  mkdir(path: string): Promise<void>
  remove(path: string): Promise<void>
  /** Every path below the root, sorted; directories end in "/". The daemon's own directory included. */
  paths(): Promise<string[]>
}

/** A store that is ready to be mounted, by itself or at several places. */
export interface PreparedStore {
  readonly type: string
  /** OpenDAL's own options. */
  readonly options: Readonly<Record<string, string>>
  /** null where nobody but the daemon can reach the storage. */
  readonly view: StoreView | null
  /** The host's directory; null for other stores. */
  readonly hostDirectory: string | null
  dispose(): Promise<void>
}

export interface Store {
  readonly name: string
  prepare(): Promise<PreparedStore>
}

const memoryStore: Store = {
  name: 'memory',
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

export const STORES: readonly Store[] = [directoryStore, memoryStore]

function directoryView(root: string): StoreView {
  let nextTemporary = 1
  return {
    read: async (path) => {
      try {
        return await readFile(join(root, path))
      } catch (error) {
        if ((error as NodeJS.ErrnoException).code === 'ENOENT') return null
        throw error
      }
    },
    write: async (path, data) => {
      const temporary = join(root, `.outside-${nextTemporary++}`)
      await writeFile(temporary, data)
      await rename(temporary, join(root, path))
    },
    mkdir: async (path) => {
      await mkdir(join(root, path))
    },
    remove: (path) => unlink(join(root, path)),
    paths: async () => {
      const entries = await readdir(root, { recursive: true, withFileTypes: true })
      return entries
        .map((entry) => {
          const path = join(entry.parentPath, entry.name).slice(root.length + 1)
          return entry.isDirectory() ? `${path}/` : path
        })
        .sort()
    },
  }
}
