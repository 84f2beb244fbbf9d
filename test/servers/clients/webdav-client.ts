import { encodePath, sendExpecting } from './http.js'

/** A plain client of WebDAV, RFC 4918. Paths are absolute. */
export class WebdavClient {
  /** @param origin `http://host:port` */
  constructor(readonly origin: string) {}

  /** null when there is no such file. */
  async get(path: string): Promise<Buffer | null> {
    const response = await this.#send([200, 404], 'GET', path)
    return response.status === 404 ? null : response.body
  }

  async put(path: string, data: string | Uint8Array): Promise<void> {
    await this.#send([200, 201, 204], 'PUT', path, Buffer.from(data))
  }

  async mkdir(path: string): Promise<void> {
    await this.#send([201], 'MKCOL', path)
  }

  /** A file, or a directory with all that is below. @throws HttpError 404 */
  async delete(path: string): Promise<void> {
    await this.#send([200, 204], 'DELETE', path)
  }

  #send(
    statuses: readonly number[],
    method: string,
    path: string,
    body?: Uint8Array,
  ): ReturnType<typeof sendExpecting> {
    const request = { method, origin: this.origin, target: encodePath(path) }
    return sendExpecting(statuses, body === undefined ? request : { ...request, body })
  }
}
