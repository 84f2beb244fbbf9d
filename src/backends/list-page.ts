import type { Backend, DirectoryPage } from './backend.js'

/** See `Backend.listPage`. Of a service that lists only all at once, that is one page. */
export async function listPageOf(
  backend: Backend,
  path: string,
  token: string | null,
  maxEntries?: number,
): Promise<DirectoryPage> {
  if (backend.listPage !== undefined) return backend.listPage(path, token, maxEntries)
  return { entries: await backend.list(path), next: null }
}
