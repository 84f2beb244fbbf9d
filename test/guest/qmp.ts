import { createConnection, type Socket } from 'node:net'

interface QmpMessage {
  readonly QMP?: unknown
  readonly return?: unknown
  readonly error?: { readonly class: string; readonly desc: string }
  readonly event?: string
}

interface PendingCommand {
  readonly name: string
  readonly resolve: (value: unknown) => void
  readonly reject: (error: Error) => void
}

/** QEMU's machine protocol over a Unix socket: one command at a time, and events. Source: QEMU's docs/interop/qmp-spec. */
export class QmpClient {
  readonly #socket: Socket
  readonly #pending: PendingCommand[] = []
  readonly #eventWaiters: { readonly name: string; readonly resolve: () => void }[] = []
  #input = ''

  private constructor(socket: Socket) {
    this.#socket = socket
    socket.setEncoding('utf8').on('data', (chunk: string) => {
      this.#receive(chunk)
    })
    socket.on('close', () => {
      for (const command of this.#pending.splice(0))
        command.reject(new Error(`QEMU went away during ${command.name}`))
    })
    // The close event follows and tells those who wait.
    socket.on('error', () => undefined)
  }

  /** Connect to a socket that QEMU listens on, and leave the negotiation mode. */
  static async connect(path: string): Promise<QmpClient> {
    const client = new QmpClient(await connectSocket(path))
    await client.execute('qmp_capabilities')
    return client
  }

  /** Rejects with QEMU's description of the error, or when QEMU goes away. */
  execute(name: string, args: Readonly<Record<string, unknown>> = {}): Promise<unknown> {
    return new Promise((resolve, reject) => {
      if (this.#socket.destroyed) {
        reject(new Error(`QEMU is gone, so there is no ${name}`))
        return
      }
      this.#pending.push({ name, resolve, reject })
      this.#socket.write(`${JSON.stringify({ execute: name, arguments: args })}\n`)
    })
  }

  /** Resolves at the next event of this name. */
  nextEvent(name: string): Promise<void> {
    return new Promise((resolve) => {
      this.#eventWaiters.push({ name, resolve })
    })
  }

  close(): void {
    this.#socket.destroy()
  }

  #receive(chunk: string): void {
    const lines = (this.#input + chunk).split('\n')
    this.#input = lines.pop() ?? ''
    for (const line of lines) this.#handle(JSON.parse(line) as QmpMessage)
  }

  #handle(message: QmpMessage): void {
    if (message.event !== undefined) {
      for (const waiter of [...this.#eventWaiters]) {
        if (waiter.name !== message.event) continue
        this.#eventWaiters.splice(this.#eventWaiters.indexOf(waiter), 1)
        waiter.resolve()
      }
      return
    }
    if (message.QMP !== undefined) return
    const command = this.#pending.shift()
    if (command === undefined) return
    if (message.error === undefined) command.resolve(message.return)
    else command.reject(new Error(`QEMU refused ${command.name}: ${message.error.desc}`))
  }
}

/** Connect to a Unix socket. */
export function connectSocket(path: string): Promise<Socket> {
  return new Promise((resolve, reject) => {
    const socket = createConnection(path)
    socket.once('connect', () => {
      socket.off('error', reject)
      resolve(socket)
    })
    socket.once('error', reject)
  })
}
