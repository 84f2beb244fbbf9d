// The yardstick: an object read by OpenDAL's binding alone, some ranges at a time; a process of its own, as a daemon is.
// The argument is a JSON object { options, key, sizeBytes, rangeBytes, depth }; prints the seconds.
import opendal from 'opendal'

const { options, key, sizeBytes, rangeBytes, depth } = JSON.parse(process.argv[2])
const operator = new opendal.Operator('s3', options)
let next = 0

async function lane() {
  while (next < sizeBytes) {
    const offset = next
    next += rangeBytes
    const size = Math.min(rangeBytes, sizeBytes - offset)
    const data = await operator.read(key, { offset: BigInt(offset), size: BigInt(size) })
    if (data.byteLength !== size) throw new Error(`${data.byteLength} bytes of ${size} at ${offset}`)
  }
}

const start = performance.now()
await Promise.all(Array.from({ length: depth }, lane))
process.stdout.write(`${(performance.now() - start) / 1000}\n`)
