import { createServer, type Server } from 'node:net'
import { readFileSync } from 'node:fs'

/**
 * Ports come in blocks. Whoever uses a block listens on its first port, the guard, for as long; so no two test runs can
 * share a block, and a server that is stopped finds its ports free when it starts again.
 */
export const PORTS_PER_BLOCK = 16
/** Below are the ports of well-known services. */
const LOWEST_PORT = 20_000
/** The kernel's usual first port for outgoing connections: these must not take ours. */
const USUAL_EPHEMERAL_PORT = 32_768
const LOOPBACK = '127.0.0.1'
const TRIES = 200

export interface PortBlock {
  /** Free ports on 127.0.0.1, PORTS_PER_BLOCK - 1 of them, each one more than the one before. */
  readonly ports: readonly number[]
  release(): void
}

/** Ports that only the caller uses until `release` or the end of this process. */
export async function reservePorts(): Promise<PortBlock> {
  const blocks = Math.floor((highestPort() - LOWEST_PORT) / PORTS_PER_BLOCK)
  // Begin anywhere, so that runs side by side seldom ask for the same block.
  const start = Math.floor(Math.random() * blocks)
  for (let i = 0; i < Math.min(TRIES, blocks); i++) {
    const guardPort = LOWEST_PORT + ((start + i) % blocks) * PORTS_PER_BLOCK
    const guard = await listen(guardPort)
    if (guard === null) continue
    const ports = Array.from({ length: PORTS_PER_BLOCK - 1 }, (_, index) => guardPort + 1 + index)
    if (await areFree(ports)) {
      guard.unref()
      return { ports, release: () => guard.close() }
    }
    guard.close()
  }
  throw new Error(`no block of ${PORTS_PER_BLOCK} free ports on ${LOOPBACK} after ${TRIES} tries`)
}

/** The nth port of a block. */
export function portAt(block: PortBlock, index: number): number {
  const port = block.ports[index]
  if (port === undefined) throw new Error(`a block has ports 0 to ${PORTS_PER_BLOCK - 2}, not ${index}`)
  return port
}

function highestPort(): number {
  const range = readFileSync('/proc/sys/net/ipv4/ip_local_port_range', 'utf8')
  const first = Number.parseInt(range, 10)
  return first > LOWEST_PORT + PORTS_PER_BLOCK ? first : USUAL_EPHEMERAL_PORT
}

async function areFree(ports: readonly number[]): Promise<boolean> {
  for (const port of ports) {
    const server = await listen(port)
    if (server === null) return false
    await new Promise((resolve) => server.close(resolve))
  }
  return true
}

/** null when the port is taken. */
function listen(port: number): Promise<Server | null> {
  return new Promise((resolve, reject) => {
    const server = createServer((socket) => socket.destroy())
    server.once('error', (error: NodeJS.ErrnoException) => {
      if (error.code === 'EADDRINUSE' || error.code === 'EACCES') resolve(null)
      else reject(error)
    })
    server.listen(port, LOOPBACK, () => {
      resolve(server)
    })
  })
}
