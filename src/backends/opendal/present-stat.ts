import type { Metadata, Operator } from 'opendal'
import { toStorageError } from '../storage-error.js'

/** Looks that ask first whether anything is there, after one that found nothing. */
const DOUBTFUL_LOOKS = 16

/**
 * Looks at names that may be missing. Each error of the binding costs it some 135 bytes for ever (measured with 0.49), its answer that
 * nothing is there nothing; but to ask for that is one more request for what is there. So it is asked where names have been missing lately: at most one
 * look in seventeen ends in an error.
 */
export class PresentStat {
  private doubtfulLooks = 0

  constructor(private readonly operator: Operator) {}

  /** null when nothing is there. @throws StorageError */
  async stat(path: string): Promise<Metadata | null> {
    try {
      if (this.doubtfulLooks > 0 && !(await this.operator.exists(path))) {
        this.doubtfulLooks = DOUBTFUL_LOOKS
        return null
      }
      const found = await this.operator.stat(path)
      if (this.doubtfulLooks > 0) this.doubtfulLooks--
      return found
    } catch (error) {
      const failure = toStorageError(error)
      if (failure.errno !== 'ENOENT' && failure.errno !== 'ENOTDIR') throw failure
      this.doubtfulLooks = DOUBTFUL_LOOKS
      return null
    }
  }
}
