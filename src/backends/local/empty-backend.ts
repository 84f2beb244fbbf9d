import type { Backend, BackendCapabilities, StorageUsage } from '../backend.js'
import { StorageError } from '../storage-error.js'

function refuse(): Promise<never> {
  return Promise.reject(new StorageError('EROFS', 'a virtual directory holds nothing but mount points'))
}

/** The store behind virtual directories: nothing is there and nothing can be put there. */
export class EmptyBackend implements Backend {
  readonly capabilities: BackendCapabilities = {
    write: true,
    append: false,
    copy: false,
    setModificationTime: false,
    attributes: false,
    maxFileBytes: 0,
    maxPathBytes: Number.MAX_SAFE_INTEGER,
    partSizeBytes: 1 << 20,
  }
  readonly read = refuse
  readonly write = refuse
  readonly createWriter = refuse
  readonly append = refuse
  readonly copy = refuse
  readonly createDirectory = refuse
  readonly removeDirectory = refuse
  readonly removeFile = refuse
  readonly rename = refuse
  readonly setModificationTime = refuse
  readonly setAttributes = refuse

  accepts(): boolean {
    return true
  }

  stat(): Promise<null> {
    return Promise.resolve(null)
  }

  list(): Promise<[]> {
    return Promise.resolve([])
  }

  usage(): Promise<StorageUsage> {
    return Promise.resolve({
      blockSizeBytes: 4096,
      totalBlocks: 0,
      freeBlocks: 0,
      availableBlocks: 0,
      totalFiles: 0,
      freeFiles: 0,
    })
  }
}
