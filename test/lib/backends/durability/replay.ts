/** System calls on a directory of the host, made again on a model of a file system. */
import assert from 'node:assert/strict'
import { spawnSync } from 'node:child_process'
import { lstatSync, mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import type { Random } from '../../model/random.js'
import { CrashModel, Inode, type Survival, type Tree } from './crash-model.js'
import { eventsOf, numberOf, stringOf, type SystemCall, type TraceEvent } from './system-calls.js'

/** For strace: what changes a file system, what makes it durable, and what tells which file a descriptor is of. */
const TRACED_CALLS = [
  ...['openat', 'openat2', 'close', 'write', 'pwrite64', 'copy_file_range', 'ioctl', 'ftruncate'],
  ...['fsync', 'fdatasync', 'renameat', 'renameat2', 'linkat', 'unlinkat', 'mkdirat'],
  // What Node.js calls, with paths from the root on.
  ...['rename', 'unlink', 'mkdir'],
].join(',')

/** More than any write has. */
const TRACED_BYTES = 1 << 16
/** Crashes that leave something at random, for each beginning of a trace, beside the two extremes. */
const RANDOM_CRASHES = 2

/** Why nothing can be traced here; false: it can. */
export const cannotTrace = spawnSync('strace', ['-V']).status !== 0 && 'NO REPLAYS: there is no strace'

interface Opened {
  readonly inode: Inode
  readonly appends: boolean
  /** Where `write` writes next. */
  offset: number
}

/** `M`: a line that the traced program writes to the file of marks. */
export class Replay<M> {
  readonly model = new CrashModel()
  private readonly descriptors = new Map<number, Opened>()
  private marksDescriptor = -1
  /** Those that are under way in another form have the same one when they end. */
  private readonly calls = new WeakMap<SystemCall, SystemCall>()
  private readonly syncs = new Map<SystemCall, { readonly inode: Inode; readonly since: number }>()

  /** `root` is as it is when the trace begins. */
  constructor(
    private readonly root: string,
    private readonly marksFile: string,
    private readonly told: (mark: M) => void,
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
  apply(event: TraceEvent): boolean {
    const { begins, ends } = event
    if (event.call.result < 0) return false
    const call = this.calls.get(event.call) ?? withDirectories(event.call)
    this.calls.set(event.call, call)
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
    const isBelowRoot = path.startsWith(`${this.root}/`)
    const isRelative = !path.startsWith('/') && /^\d/.test(descriptor)
    const start = isRelative ? this.descriptors.get(numberOf(descriptor))?.inode : this.model.root
    if (start === undefined || !(isBelowRoot || isRelative)) return null
    const names = (isBelowRoot ? path.slice(this.root.length + 1) : path).split('/')
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
    if (present !== undefined && how.includes('O_TRUNC')) this.model.write(inode, 0, '', 0)
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
      this.told(JSON.parse(Buffer.from(stringOf(data), 'latin1').toString()) as M)
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

const FROM_ROOT = 'AT_FDCWD'

/** Calls of paths alone as those of directories and paths. */
function withDirectories(call: SystemCall): SystemCall {
  const [first = '', second = ''] = call.args
  if (call.name === 'rename')
    return { ...call, name: 'renameat', args: [FROM_ROOT, first, FROM_ROOT, second] }
  if (call.name === 'unlink' || call.name === 'mkdir')
    return { ...call, name: `${call.name}at`, args: [FROM_ROOT, ...call.args] }
  return call
}

export interface TracedProgram {
  /** A module. */
  readonly program: string
  /** What it changes. */
  readonly root: string
  readonly marksFile: string
  readonly seed: number
  readonly rounds: number
}

/** Run a program that is told by its environment what to do. */
export function traceOf({ program, root, marksFile, seed, rounds }: TracedProgram): TraceEvent[] {
  const out = join(mkdtempSync(join(tmpdir(), 'ovfsd-trace-')), 'trace')
  const options = ['-f', '-y', '-s', String(TRACED_BYTES), '-e', `trace=${TRACED_CALLS}`, '-o', out]
  const settings = { ROOT: root, MARKS: marksFile, SEED: String(seed), ROUNDS: String(rounds) }
  const { status, stderr } = spawnSync('strace', [...options, process.execPath, program], {
    env: { ...process.env, ...settings },
    encoding: 'utf8',
  })
  assert.equal(status, 0, `seed ${seed}: ${stderr}`)
  const trace = readFileSync(out, 'latin1')
  rmSync(dirname(out), { recursive: true })
  return eventsOf(trace)
}

/** Crash after each event, in each of several ways; `faultOf` tells what is wrong with what that leaves. Returns how many crashes there were. */
export function crashAfterEach<M>(
  events: readonly TraceEvent[],
  replay: Replay<M>,
  random: Random,
  faultOf: (tree: Tree) => string | null,
): number {
  const never = (): boolean => false
  const toss = (): boolean => random.chance(0.5)
  const nothing: Survival = { change: never, write: never, share: () => 1 }
  const namesOnly: Survival = { ...nothing, change: () => true }
  const some: Survival = { change: toss, write: toss, share: () => (toss() ? 1 : random.next()) }
  const survivals = [nothing, namesOnly, ...Array.from({ length: RANDOM_CRASHES }, () => some)]
  let crashes = 0
  events.forEach((event, index) => {
    if (!replay.apply(event)) return
    const { model } = replay
    const trees = [model.present(), ...survivals.map((survival) => model.afterCrash(survival))]
    crashes += trees.length
    trees.forEach((tree, crash) => {
      const fault = faultOf(tree)
      const call = `${event.call.name}(${event.call.args.join(', ').slice(0, 300)})`
      if (fault !== null) assert.fail(`event ${index}, ${call}, crash ${crash}: ${fault}`)
    })
  })
  return crashes
}
