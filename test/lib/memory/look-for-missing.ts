/** A process of its own: looks for names that are missing, and prints by how many bytes it has grown. Arguments: the layer, and how many looks. */
import { readFileSync } from 'node:fs'
import { setImmediate as turn } from 'node:timers/promises'
import { DirectoryServiceBackend } from '../../../src/backends/opendal/directory-service-backend.js'
import { OpendalObjectClient } from '../../../src/backends/opendal/opendal-object-client.js'
import { createOperator } from '../../../src/backends/opendal/operator.js'

/** Pools of the binding and of the heap have their size by then. */
const WARM_UP_LOOKS = 50_000
const AT_ONCE = 100

const [layer = '', looks = ''] = process.argv.slice(2)
const operator = createOperator({ scheme: 'memory', options: {}, timeoutMs: 10_000 })
const client = new OpendalObjectClient(operator, { maxPathBytes: 1000 })
const backend = new DirectoryServiceBackend(operator, operator)
const look = (name: string): Promise<unknown> =>
  layer === 'objects' ? client.head(name) : backend.stat(name)

/** What is not JavaScript's heap. */
function nativeBytes(): number {
  const kibibytes = /^RssAnon:\s+(\d+) kB/m.exec(readFileSync('/proc/self/status', 'utf8'))?.[1]
  return Number(kibibytes) * 1024 - process.memoryUsage().heapTotal
}

async function lookFor(count: number): Promise<void> {
  for (let done = 0; done < count; done += AT_ONCE)
    await Promise.all(Array.from({ length: AT_ONCE }, (_, index) => look(`missing-${done + index}`)))
  globalThis.gc?.()
  await turn()
  globalThis.gc?.()
}

await lookFor(WARM_UP_LOOKS)
const before = nativeBytes()
await lookFor(Number(looks))
process.stdout.write(String(nativeBytes() - before))
