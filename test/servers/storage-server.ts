/** What every storage server of the tests can do, whatever it stores. */
export interface StorageServer {
  /** End every process and remove all data. Harmless when repeated. */
  stop(): Promise<void>
  /** Crash what the clients talk to; what it had acknowledged is still there after `restart`. */
  kill(): Promise<void>
  /** Start what clients talk to again, at the same address; `kill` comes first if it has not. */
  restart(): Promise<void>
}

export const LOOPBACK = '127.0.0.1'

/** True once the URL gives any answer with this status. */
export async function answers(url: string, status = 200): Promise<boolean> {
  const response = await fetch(url, { redirect: 'manual', signal: AbortSignal.timeout(5000) })
  await response.arrayBuffer()
  return response.status === status
}
