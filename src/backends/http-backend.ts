import type { EntryKind, ObjectStat } from './backend.js'
import { DirectoryServiceBackend } from './directory-service-backend.js'
import { DIRECTORY } from './object-store.js'
import { directoryPath, objectPath } from './opendal-backend.js'

/** OpenDAL's `http`: files whose names are known, to be read. There are no listings, and no directories but what answers under "name/". */
export class HttpBackend extends DirectoryServiceBackend {
  /** Asked for a directory without its "/", servers lead to its page, which would pass for a file of that name. */
  override async stat(path: string, _kind?: EntryKind): Promise<ObjectStat | null> {
    if (path === '') return DIRECTORY
    const file = this.statExactly(objectPath(path))
    file.catch(() => undefined)
    const directory = await this.statExactly(directoryPath(path))
    return directory ?? file
  }
}
