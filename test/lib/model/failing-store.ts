/** A store in memory of which single calls fail in a way that is asked for. */
import type { Backend } from '../../../src/backends/backend.js'
import { RESERVED_DIRECTORY } from '../../../src/backends/backend.js'
import { StorageError } from '../../../src/backends/storage-error.js'
import { withMembers } from '../../support/backends.js'
import { memory } from './driving.js'

/** Nothing is done, and said so; done, and nobody says so; not done, and nobody says so. */
export type Failure = 'refused' | 'done' | 'not done'

type Changing = 'rename' | 'removeFile' | 'removeDirectory' | 'write'

export class FailingStore {
  readonly stored = memory()
  readonly failures = new Map<Changing, Failure>()
  /** Every path that a call was about, and whether it was there right after the call. */
  readonly watched = new Map<string, boolean[]>()

  readonly backend: Backend = withMembers(this.stored, {
    rename: (from, to, kind, options) =>
      this.call('rename', () => this.stored.rename(from, to, kind, options)),
    removeFile: (path) => this.call('removeFile', () => this.stored.removeFile(path)),
    removeDirectory: (path) => this.call('removeDirectory', () => this.stored.removeDirectory(path)),
    write: (path, data, expected, options) =>
      this.call('write', () => this.stored.write(path, data, expected, options)),
  })

  private async call<T>(method: Changing, run: () => Promise<T>): Promise<T> {
    const failure = this.failures.get(method)
    if (failure === 'refused') throw new StorageError('EIO', 'refused', { retryable: true })
    const result = failure === 'not done' ? undefined : await run()
    for (const [path, seen] of this.watched) seen.push((await this.stored.stat(path)) !== null)
    if (failure !== undefined) throw new StorageError('ETIMEDOUT', 'no answer', { unanswered: true })
    return result as T
  }

  /** Whether the path was there at every moment between two calls. */
  watch(path: string): readonly boolean[] {
    const seen: boolean[] = []
    this.watched.set(path, seen)
    return seen
  }

  async contentsOf(path: string): Promise<string | null> {
    const stat = await this.stored.stat(path)
    if (stat === null) return null
    return Buffer.from(await this.stored.read(path, 0, stat.sizeBytes, stat.version)).toString()
  }

  async hiddenFiles(): Promise<number> {
    return (await this.stored.list(RESERVED_DIRECTORY)).length
  }
}
