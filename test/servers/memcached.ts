import { createHash } from 'node:crypto'
import { connect } from 'node:net'

const DEADLINE_MS = 10_000
/** What Swift's client marks JSON values with. */
const JSON_FLAG = 2

/** One command, as the memcached text protocol has it, and the first line of the answer. */
export function memcachedCommand(host: string, port: number, command: string): Promise<string> {
  return new Promise((resolve, reject) => {
    const socket = connect(port, host)
    let answer = ''
    socket.setEncoding('utf8')
    socket.setTimeout(DEADLINE_MS, () => socket.destroy(new Error(`memcached did not answer: ${command}`)))
    socket.once('error', reject)
    socket.once('close', () => {
      reject(new Error(`memcached closed the connection after ${JSON.stringify(answer)}`))
    })
    socket.on('data', (text: string) => {
      answer += text
      const end = answer.indexOf('\r\n')
      if (end < 0) return
      resolve(answer.slice(0, end))
      socket.destroy()
    })
    socket.write(`${command}\r\n`)
  })
}

/** Store a value where Swift's client finds it. */
export async function storeForSwift(
  host: string,
  port: number,
  key: string,
  value: unknown,
  lifeSeconds: number,
): Promise<void> {
  const data = JSON.stringify(value)
  const name = createHash('md5').update(key).digest('hex')
  // memcached takes 0 for "for ever".
  const life = Math.max(1, Math.ceil(lifeSeconds))
  const answer = await memcachedCommand(
    host,
    port,
    `set ${name} ${JSON_FLAG} ${life} ${data.length}\r\n${data}`,
  )
  if (answer !== 'STORED') throw new Error(`memcached refused a value: ${answer}`)
}
