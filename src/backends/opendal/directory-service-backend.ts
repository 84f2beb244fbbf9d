import type { Metadata, Operator } from 'opendal'
import type { BackendCapabilities, EntryKind, ObjectStat } from '../backend.js'
import { DIRECTORY } from '../objects/object-store.js'
import { SharedStoreBackend } from './shared-store-backend.js'

/** A service that keeps directories as such, empty ones too (WebDAV, drives, file shares), so that no markers are needed. */
export class DirectoryServiceBackend extends SharedStoreBackend {
  constructor(operator: Operator, once: Operator, extraCapabilities: Partial<BackendCapabilities> = {}) {
    super(operator, once, { ...extraCapabilities, append: false })
  }

  override stat(path: string, _kind?: EntryKind): Promise<ObjectStat | null> {
    return path === '' ? Promise.resolve(DIRECTORY) : super.stat(path)
  }

  /**
   * Versions are etags without their marks: Apache's are weak while a file is younger than a second, and strong later.
   * So they are compared here, never given as a condition.
   */
  protected override toStat(metadata: Metadata): ObjectStat {
    const stat = super.toStat(metadata)
    if (stat.kind === 'directory') return { ...DIRECTORY, mtime: stat.mtime }
    return { ...stat, version: stat.version.replace(/^(?:W\/)?"(.*)"$/, '$1') }
  }
}
