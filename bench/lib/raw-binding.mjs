// The yardstick: OpenDAL's binding alone, in a process of its own, as a daemon is. Prints the seconds. The argument is a JSON object:
// { options, key, sizeBytes, rangeBytes, depth } to read an object, some ranges at a time,
// { options, directory, sizeBytes, files } to write objects, one at a time.
import opendal from 'opendal'

const job = JSON.parse(process.argv[2])
const operator = new opendal.Operator('s3', job.options)

async function read({ key, sizeBytes, rangeBytes, depth }) {
  let next = 0
  const lane = async () => {
    while (next < sizeBytes) {
      const offset = next
      next += rangeBytes
      const size = Math.min(rangeBytes, sizeBytes - offset)
      const data = await operator.read(key, { offset: BigInt(offset), size: BigInt(size) })
      if (data.byteLength !== size) throw new Error(`${data.byteLength} bytes of ${size} at ${offset}`)
    }
  }
  await Promise.all(Array.from({ length: depth }, lane))
}

async function write({ directory, sizeBytes, files }) {
  for (let index = 0; index < files; index++)
    await operator.write(`${directory}/${index}`, Buffer.alloc(sizeBytes, index))
}

const start = performance.now()
await (job.files === undefined ? read(job) : write(job))
process.stdout.write(`${(performance.now() - start) / 1000}\n`)
