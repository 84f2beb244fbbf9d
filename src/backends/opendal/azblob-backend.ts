import type { Operator } from 'opendal'
import type { BackendCapabilities } from '../backend.js'
import { ObjectStoreBackend } from '../objects/object-store-backend.js'

/** OpenDAL's Azure Blob Storage. */
export class AzblobBackend extends ObjectStoreBackend {
  constructor(operator: Operator, extraCapabilities: Partial<BackendCapabilities>) {
    // Only blobs that were made to be appended to can be.
    super(operator, { ...extraCapabilities, append: false })
  }

  /** The service takes a "\\" for a "/". */
  override accepts(path: string): boolean {
    return super.accepts(path) && !path.includes('\\')
  }
}
