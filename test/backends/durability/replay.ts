/** System calls on a directory of the host, made again on a model of a file system. */
import { lstatSync, readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { CrashModel, Inode } from './crash-model.js'
import type { Mark } from './steps.js'
import { numberOf, stringOf, type SystemCall, type TraceEvent } from './system-calls.js'

/** For strace: what changes a file system, what makes it durable, and what tells which file a descriptor is of. */
export const TRACED_CALLS = [
  ...['openat', 'openat2', 'close', 'write', 'pwrite64', 'copy_file_range', 'ioctl', 'ftruncate'],
  ...['fsync', 'fdatasync', 'renameat', 'renameat2', 'linkat', 'unlinkat', 'mkdirat'],
].join(',')

interface Opened {
  readonly inode: Inode
  readonly appends: boolean
  /** Where `write` writes next. */
  offset: number
}

export class Replay {
  readonly model = new CrashModel()
  private readonly descriptors = new Map<number, Opened>()
  private marksDescriptor = -1
  private readonly syncs = new Map<SystemCall, { readonly inode: Inode; readonly since: number }>()

  /** `root` is as it is when the trace begins. */
  constructor(
    private readonly root: string,
    private readonly marksFile: string,
    private readonly told: (mark: Mark) => void,
  ) {
    this.plantAll(root, this.model.root, new Map())
  }

  private plantAll(path: string, directory: Inode, seen: Map<number, Inode>): void {
    for (const name of readdirSync(path)) {
      const at = join(path, name)
      const stat = lstatSync(at)
      const inode = seen.get(stat.ino) ?? new Inode(stat.isDirectory() ? 'directory' : 'file')
      this.model.plant(directory, name, inode)
      if (stat.isDirectory()) this.plantAll(at, inode, seen)
      else inode.text = inode.durableText = readFileSync(at, 'latin1')
      seen.set(stat.ino, inode)
    }
  }

  /** Whether a crash after this one may leave something else than before. */
  apply({ call, begins, ends }: TraceEvent): boolean {
    if (call.result < 0) return false
    // A descriptor's number may be used again before the thread that closes it goes on; one that is opened is used later.
    if (begins) this.begin(call)
    return ends && this.end(call)
  }

  private begin(call: SystemCall): void {
    if (call.name === 'close') this.descriptors.delete(numberOf(call.args[0]))
    if (call.name !== 'fsync' && call.name !== 'fdatasync') return
    const inode = this.descriptors.get(numberOf(call.args[0]))?.inode
    if (inode !== undefined) this.syncs.set(call, { inode, since: this.model.now })
  }

  private end(call: SystemCall): boolean {
    switch (call.name) {
      case 'openat':
      case 'openat2':
        return this.open(call)
      case 'write':
      case 'pwrite64':
        return this.write(call)
      case 'copy_file_range':
        return this.copyRange(call)
      case 'ioctl':
        return this.clone(call)
      case 'ftruncate':
        return this.truncate(call)
      case 'fsync':
      case 'fdatasync':
        return this.sync(call)
      case 'renameat':
      case 'renameat2':
        return this.rename(call)
      case 'linkat':
        return this.link(call)
      case 'unlinkat':
        return this.unlink(call)
      case 'mkdirat':
        return this.makeDirectory(call)
      default:
        return false
    }
  }

  /** A path below the descriptor's directory. null: it is none of ours. */
  private place(descriptor = '', argument = ''): { directory: Inode; name: string } | null {
    const path = stringOf(argument)
    const start = this.descriptors.get(/^\d/.test(descriptor) ? numberOf(descriptor) : -1)?.inode
    if (start === undefined || path.startsWith('/')) return null
    const names = path.split('/')
    const name = names.pop() ?? ''
    let directory: Inode | undefined = start
    for (const step of names) directory = directory?.entries.get(step)
    return directory === undefined ? null : { directory, name }
  }

  private open({ args, result }: SystemCall): boolean {
    const [descriptor, path = '', how = ''] = args
    const appends = how.includes('O_APPEND')
    if (stringOf(path) === this.marksFile) this.marksDescriptor = result
    if (stringOf(path) === this.root) {
      this.descriptors.set(result, { inode: this.model.root, appends, offset: 0 })
      return false
    }
    const place = this.place(descriptor, path)
    if (place === null) return false
    const { directory, name } = place
    const present =
      name === '.' ? directory : name === '..' ? this.parentOf(directory) : directory.entries.get(name)
    const inode = present ?? new Inode('file')
    if (how.includes('O_TRUNC')) throw new Error('O_TRUNC is not modelled')
    if (present === undefined) this.model.change([{ directory, name, inode }])
    this.descriptors.set(result, { inode, appends, offset: 0 })
    return present === undefined
  }

  private parentOf(directory: Inode, start = this.model.root): Inode | undefined {
    for (const inode of start.entries.values()) {
      if (inode === directory) return start
      const found = this.parentOf(directory, inode)
      if (found !== undefined) return found
    }
    return undefined
  }

  private write({ name, args, result }: SystemCall): boolean {
    const [descriptor, data = '', , offset] = args
    if (numberOf(descriptor) === this.marksDescriptor) {
      this.told(JSON.parse(stringOf(data)) as Mark)
      return true
    }
    const opened = this.descriptors.get(numberOf(descriptor))
    if (opened === undefined) return false
    const { inode } = opened
    const next = opened.appends ? inode.text.length : opened.offset
    const start = name === 'pwrite64' ? numberOf(offset) : next
    this.model.write(inode, start, stringOf(data).slice(0, result))
    if (name === 'write') opened.offset = start + result
    return true
  }

  private copyRange({ args, result }: SystemCall): boolean {
    const from = this.descriptors.get(numberOf(args[0]))?.inode
    const to = this.descriptors.get(numberOf(args[2]))?.inode
    if (from === undefined || to === undefined || result === 0) return false
    const start = numberOf(args[1])
    this.model.write(to, numberOf(args[3]), from.text.slice(start, start + result))
    return true
  }

  private clone({ args }: SystemCall): boolean {
    if (args[1]?.includes('FICLONE') !== true) return false
    const to = this.descriptors.get(numberOf(args[0]))?.inode
    const from = this.descriptors.get(numberOf(args[2]))?.inode
    if (from === undefined || to === undefined) return false
    this.model.write(to, 0, from.text)
    return true
  }

  private truncate({ args }: SystemCall): boolean {
    const inode = this.descriptors.get(numberOf(args[0]))?.inode
    if (inode !== undefined) this.model.write(inode, 0, '', numberOf(args[1]))
    return inode !== undefined
  }

  private sync(call: SystemCall): boolean {
    const sync = this.syncs.get(call)
    if (sync !== undefined) this.model.synced(sync.inode, sync.since)
    return sync !== undefined
  }

  private rename({ args }: SystemCall): boolean {
    const [from, to] = [this.place(args[0], args[1]), this.place(args[2], args[3])]
    const moved = from?.directory.entries.get(from.name)
    if (from === null || to === null || moved === undefined) return false
    const isExchange = args[4]?.includes('RENAME_EXCHANGE') === true
    const back = isExchange ? (to.directory.entries.get(to.name) ?? null) : null
    this.model.change([
      { ...from, inode: back },
      { ...to, inode: moved },
    ])
    return true
  }

  private link({ args }: SystemCall): boolean {
    const [from, to] = [this.place(args[0], args[1]), this.place(args[2], args[3])]
    const inode = from?.directory.entries.get(from.name)
    if (inode === undefined || to === null) return false
    this.model.change([{ ...to, inode }])
    return true
  }

  private unlink({ args }: SystemCall): boolean {
    const place = this.place(args[0], args[1])
    if (place === null) return false
    if (args[2]?.includes('AT_REMOVEDIR') === true) this.model.removeDirectory(place.directory, place.name)
    else this.model.change([{ ...place, inode: null }])
    return true
  }

  private makeDirectory({ args }: SystemCall): boolean {
    const place = this.place(args[0], args[1])
    if (place !== null) this.model.change([{ ...place, inode: new Inode('directory') }])
    return place !== null
  }
}
