/**
 * A daemon that dies: its file system and its cache are dropped as they are, and the store and the cache directory stay. Each call of
 * the store and of the staging directory has two moments for that: before it, and when it is done and nobody was told.
 */
import { Recovery, recoverFirst } from '../../../src/cache/recovery.js'
import { Staging } from '../../../src/cache/staging.js'
import { createLogger } from '../../../src/observability/logger.js'
import { Driver } from '../model/driver.js'
import { ReferenceBackend, type ReferenceOptions } from '../reference-store/reference-backend.js'
import type { Fault } from '../reference-store/faults.js'

const POOL_BYTES = 4 << 20
/** Of what a daemon does, ms: who is neither done nor dead by then waits for ever. */
const DEADLINE_MS = 20_000

/** What the operation that was under way when the daemon died ends with. */
export class Died extends Error {}

export interface MortalOptions {
  readonly store: ReferenceOptions
  readonly directory: string
  /** The moment of its death; Infinity: it lives. */
  readonly diesAt: number
  readonly poolBytes?: number
}

export class MortalDaemon {
  readonly driver: Driver
  readonly backend: ReferenceBackend
  /** What went on, for people. */
  readonly trace: string[] = []
  /** Moments so far. */
  moments = 0
  /** What becomes of the next call of this method. */
  nextFault: { readonly method: string; readonly fault: Fault } | null = null
  private readonly running = new Set<Promise<unknown>>()
  private readonly death: Promise<never>
  private die: () => void = () => undefined
  private isDead = false

  constructor(private readonly options: MortalOptions) {
    this.death = new Promise((_resolve, reject) => {
      this.die = () => {
        reject(new Died('the daemon died'))
      }
    })
    this.death.catch(() => undefined)
    this.backend = new ReferenceBackend(options.store)
    this.backend.onKilled = () => {
      this.dies()
    }
    this.backend.before = ({ method, path }) => this.trace.push(`    > ${method} ${path}`)
    this.backend.script = ({ method }) => {
      const isBefore = this.isMoment()
      const isAfter = this.isMoment()
      if (isBefore || isAfter) return { kind: 'killed', isDone: isAfter }
      if (this.nextFault?.method !== method) return null
      const { fault } = this.nextFault
      this.nextFault = null
      this.trace.push(`    ! ${JSON.stringify(fault)}`)
      return fault
    }
    this.driver = this.start()
    // A recovery begins with the start, and may have been its end.
    this.stopCleaner = () => {
      clearInterval((this.driver.fs as unknown as { readonly cleaner: NodeJS.Timeout }).cleaner)
    }
    if (this.backend.isKilled) this.stopCleaner()
  }

  /** Nobody looks after its files any more. */
  private stopCleaner: () => void = () => undefined

  private start(): Driver {
    const { directory, poolBytes = POOL_BYTES } = this.options
    const staging = this.mortal(new Staging(directory))
    const logger = createLogger({
      level: 'warn',
      stream: { write: (line: string) => this.trace.push(line.trim()) },
    })
    const backend = recoverFirst(this.backend, new Recovery(staging, logger))
    return new Driver({
      ...{ backend, staging, poolBytes, expirationMs: Infinity, cacheEnabled: true },
      ...{ writeBack: true, dirtyExpireMs: 60_000 },
    })
  }

  private isMoment(): boolean {
    return this.moments++ === this.options.diesAt
  }

  private dies(): void {
    if (this.isDead) return
    this.trace.push('    DIES')
    this.isDead = true
    this.stopCleaner()
    this.die()
  }

  /** The same directory, whose calls are moments too. */
  private mortal(staging: Staging): Staging {
    return new Proxy(staging, {
      get: (target, key): unknown => {
        const value: unknown = Reflect.get(target, key, target)
        if (typeof value !== 'function' || isImmediate(key)) return value
        return (...args: unknown[]): unknown =>
          this.asMoments(`staging.${String(key)}`, () =>
            (value as (...args: unknown[]) => unknown).apply(target, args),
          )
      },
    })
  }

  private async asMoments(name: string, call: () => unknown): Promise<unknown> {
    if (this.isDead) return never()
    this.trace.push(`    > ${name}`)
    if (this.isMoment()) return this.end()
    const running = Promise.resolve(call())
    this.running.add(running)
    const result: unknown = await running.finally(() => this.running.delete(running))
    if (this.backend.isKilled) return never()
    return this.isMoment() ? this.end() : result
  }

  private end(): Promise<never> {
    this.backend.kill()
    return never()
  }

  /** Rejects with `Died` if the daemon dies first. */
  async live<T>(name: string, work: () => Promise<T>): Promise<T> {
    const line = this.trace.push(name) - 1
    let timer: NodeJS.Timeout | undefined
    const deadline = new Promise<never>((_resolve, reject) => {
      timer = setTimeout(() => {
        reject(new Error(`${name} never ends\n${this.trace.join('\n')}`))
      }, DEADLINE_MS)
    })
    try {
      const result = await Promise.race([work(), this.death, deadline])
      this.trace[line] = `${name}: ok`
      return result
    } finally {
      clearTimeout(timer)
    }
  }

  /** It ends without having been asked to. Resolves when what it had begun with its directory has come to an end: its successor has it alone. */
  async kill(): Promise<void> {
    this.backend.kill()
    await Promise.allSettled(this.running)
  }
}

/** Asked for names and numbers only. */
function isImmediate(key: string | symbol): boolean {
  return ['pathOf', 'leave', 'constructor'].includes(String(key))
}

function never(): Promise<never> {
  return new Promise(() => undefined)
}
