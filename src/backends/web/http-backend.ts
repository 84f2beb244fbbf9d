import type { Operator } from 'opendal'
import type { ObjectStat } from '../backend.js'
import { DirectoryServiceBackend } from '../opendal/directory-service-backend.js'
import { DIRECTORY } from '../objects/object-store.js'
import { statOfWeb, WebClient } from './web-client.js'

/**
 * OpenDAL's `http`: files whose names are known, to be read. There are no listings. To OpenDAL, every name that is missing
 * is a directory; here it is one if the server leads to the name with a "/", as Apache and nginx do.
 */
export class HttpBackend extends DirectoryServiceBackend {
  private readonly client: WebClient

  constructor(operator: Operator, options: Readonly<Record<string, string>>, timeoutMs: number) {
    // Nothing is written.
    super(operator, operator)
    this.client = new WebClient(options, timeoutMs)
  }

  reportRetries(listener: () => void): void {
    this.client.connections.onRetry = listener
  }

  override stat(path: string): Promise<ObjectStat | null> {
    return path === '' ? Promise.resolve(DIRECTORY) : this.statExactly(path)
  }

  override read(path: string, offset: number, lengthBytes: number, version: string): Promise<Uint8Array> {
    return this.client.read(path, offset, lengthBytes, version)
  }

  protected override async statExactly(path: string): Promise<ObjectStat | null> {
    const status = await this.client.head(path.replace(/^\//, ''))
    return status === null ? null : statOfWeb(status)
  }
}
