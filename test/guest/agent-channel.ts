import type { Socket } from 'node:net'

export interface ScriptResult {
  /** The script's exit code; 128 + the signal's number if a signal ended it. */
  readonly exitCode: number
  /** What it printed on both streams, as it came. */
  readonly stdout: string
}

interface Waiter<T> {
  readonly resolve: (value: T) => void
  readonly reject: (error: Error) => void
}

interface RunningScript extends Waiter<ScriptResult> {
  readonly id: string
  readonly output: Buffer[]
}

/** A killed script whose processes hang in the kernel never ends: so long is it waited for. */
const KILL_GRACE_MS = 10_000
/** What a script may print; beyond this the front is dropped. */
const OUTPUT_LIMIT_BYTES = 4 << 20
/** How much of the output a timeout's message shows, in characters. */
const SHOWN_CHARACTERS = 4000
const NEWLINE = 0x0a

/** The host's end of test/guest/programs/agent.cc, which defines the protocol. One script at a time. */
export class AgentChannel {
  readonly #socket: Socket
  #input: Buffer = Buffer.alloc(0)
  /** Bytes are dropped until the guest says HELLO: before the first boot, and after a reset in the middle of a message. */
  #greeted = false
  #lost: Error | undefined
  #script: RunningScript | undefined
  #helloWaiter: Waiter<undefined> | undefined
  #nextId = 1

  constructor(socket: Socket) {
    this.#socket = socket
    socket.on('data', (chunk: Buffer) => {
      this.#input = Buffer.concat([this.#input, chunk])
      while (this.#handleMessage());
    })
    // The end of QEMU closes the socket; whoever watches QEMU says so with the reason.
    socket.on('error', () => undefined)
  }

  /** Resolves when the guest has booted. */
  async untilHello(deadlineMs: number): Promise<void> {
    if (this.#lost !== undefined) throw this.#lost
    if (this.#greeted) return
    await withDeadline<undefined>(deadlineMs, 'the guest has not booted', (waiter) => {
      this.#helloWaiter = waiter
    })
  }

  /** Run a bash script; on a timeout it is killed and the promise is rejected. */
  async run(script: string, timeoutMs: number): Promise<ScriptResult> {
    if (this.#lost !== undefined) throw this.#lost
    if (this.#script !== undefined) throw new Error('the agent runs one script at a time')
    const id = String(this.#nextId++)
    const text = Buffer.from(script)
    const output: Buffer[] = []
    const timer = setTimeout(() => {
      void this.#timeOut(id, timeoutMs)
    }, timeoutMs)
    try {
      return await new Promise<ScriptResult>((resolve, reject) => {
        this.#script = { id, output, resolve, reject }
        this.#socket.write(Buffer.concat([Buffer.from(`RUN ${id} ${text.length}\n`), text]))
      })
    } finally {
      clearTimeout(timer)
      this.#script = undefined
    }
  }

  sendPowerOff(): void {
    if (!this.#socket.destroyed) this.#socket.write('POWEROFF\n')
  }

  /** The guest is lost for good: what waits fails, and whatever is asked later does. The first reason counts. */
  fail(reason: Error): void {
    this.#lost ??= reason
    this.#rejectAll(this.#lost)
  }

  /** The guest is being reset: the running script fails, and HELLO is awaited anew. */
  abandon(reason: Error): void {
    this.#greeted = false
    this.#input = Buffer.alloc(0)
    this.#rejectAll(reason)
  }

  close(): void {
    this.#socket.destroy()
    this.fail(new Error('the guest was closed'))
  }

  #rejectAll(reason: Error): void {
    this.#script?.reject(reason)
    this.#helloWaiter?.reject(reason)
    this.#helloWaiter = undefined
  }

  async #timeOut(id: string, timeoutMs: number): Promise<void> {
    const script = this.#script
    if (script?.id !== id) return
    const printed = (): string => Buffer.concat(script.output).toString().slice(-SHOWN_CHARACTERS)
    const reason = `the script did not end within ${timeoutMs} ms`
    // Keep the agent's answer to the kill from being taken for the script's own end.
    const killed = new Promise<boolean>((resolve) => {
      const timer = setTimeout(() => {
        resolve(false)
      }, KILL_GRACE_MS)
      this.#script = {
        ...script,
        resolve: () => {
          clearTimeout(timer)
          resolve(true)
        },
      }
    })
    this.#socket.write(`KILL ${id}\n`)
    if (await killed) {
      script.reject(new Error(`${reason} and was killed; it printed:\n${printed()}`))
      return
    }
    const error = new Error(
      `${reason} and cannot be killed (see the console for what waits); it printed:\n${printed()}`,
    )
    script.reject(error)
    this.fail(error)
  }

  /** Handle one whole message at the front of the input; false when there is none. */
  #handleMessage(): boolean {
    const end = this.#input.indexOf(NEWLINE)
    if (end < 0) return false
    const [kind = '', id = '', number = ''] = this.#input.toString('latin1', 0, end).split(' ')
    if (!this.#greeted && kind !== 'HELLO') {
      this.#input = this.#input.subarray(end + 1)
      return true
    }
    if (kind === 'OUT') {
      const from = end + 1
      const to = from + Number(number)
      if (this.#input.length < to) return false
      this.#keepOutput(id, this.#input.subarray(from, to))
      this.#input = this.#input.subarray(to)
      return true
    }
    this.#input = this.#input.subarray(end + 1)
    if (kind === 'HELLO') this.#greet()
    else if (kind === 'EXIT') this.#finish(id, Number(number))
    else this.fail(new Error(`the guest's agent sent what is no message: ${kind}`))
    return true
  }

  #greet(): void {
    if (this.#greeted) this.fail(new Error('the guest rebooted by itself'))
    this.#greeted = true
    this.#helloWaiter?.resolve(undefined)
    this.#helloWaiter = undefined
  }

  #keepOutput(id: string, piece: Buffer): void {
    if (this.#script?.id !== id) return
    const { output } = this.#script
    output.push(Buffer.from(piece))
    let total = output.reduce((sum, part) => sum + part.length, 0)
    while (total > OUTPUT_LIMIT_BYTES) total -= output.shift()?.length ?? total
  }

  #finish(id: string, exitCode: number): void {
    if (this.#script?.id !== id) return
    this.#script.resolve({ exitCode, stdout: Buffer.concat(this.#script.output).toString() })
  }
}

/** A promise that `start` is given the ends of, and that is rejected after `deadlineMs`. */
async function withDeadline<T>(
  deadlineMs: number,
  reason: string,
  start: (waiter: Waiter<T>) => void,
): Promise<T> {
  let timer: NodeJS.Timeout | undefined
  try {
    return await new Promise<T>((resolve, reject) => {
      timer = setTimeout(() => {
        reject(new Error(`${reason} within ${deadlineMs} ms`))
      }, deadlineMs)
      start({ resolve, reject })
    })
  } finally {
    clearTimeout(timer)
  }
}
