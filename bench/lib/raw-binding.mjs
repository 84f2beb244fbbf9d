// The yardstick: OpenDAL's binding alone, in a process of its own, as a daemon is. Prints the seconds. The argument is a JSON object,
// with `scheme` and `options` of the operator, and
// { key, sizeBytes, rangeBytes, depth } to read an object, some ranges at a time,
// { upload, sizeBytes, partBytes, depth } to write an object, some parts at a time,
// { remove, files } to remove what the following has written, one at a time,
// { directory, sizeBytes, files, depth, onlyNew } to write objects, `depth` at a time, with `onlyNew` on the condition that there is none.
import opendal from 'opendal'

const job = JSON.parse(process.argv[2])
const operator = new opendal.Operator(job.scheme, job.options)

/** Run `work` on each of 0, 1, ... count - 1, `depth` at a time. */
async function inLanes(count, depth, work) {
  let next = 0
  const lane = async () => {
    while (next < count) await work(next++)
  }
  await Promise.all(Array.from({ length: depth }, lane))
}

function read({ key, sizeBytes, rangeBytes, depth }) {
  return inLanes(Math.ceil(sizeBytes / rangeBytes), depth, async (index) => {
    const offset = index * rangeBytes
    const size = Math.min(rangeBytes, sizeBytes - offset)
    const data = await operator.read(key, { offset: BigInt(offset), size: BigInt(size) })
    if (data.byteLength !== size) throw new Error(`${data.byteLength} bytes of ${size} at ${offset}`)
  })
}

function write({ directory, sizeBytes, files, depth, onlyNew }) {
  const options = onlyNew === true ? { ifNotExists: true } : {}
  return inLanes(files, depth, (index) =>
    operator.write(`${directory}/${index}`, Buffer.alloc(sizeBytes, index), options),
  )
}

async function upload({ upload: key, sizeBytes, partBytes, depth }) {
  const writer = await operator.writer(key, { chunk: BigInt(partBytes), concurrent: depth })
  // As a program writes: in pieces.
  const piece = Buffer.alloc(1 << 20, 0x5a)
  for (let offset = 0; offset < sizeBytes; offset += piece.length) await writer.write(piece)
  await writer.close()
}

function remove({ remove: directory, files }) {
  return inLanes(files, 1, (index) => operator.delete(`${directory}/${index}`))
}

const works = { key: read, upload, remove, directory: write }
const [work] = Object.keys(works).filter((field) => job[field] !== undefined)
const start = performance.now()
await works[work](job)
process.stdout.write(`${(performance.now() - start) / 1000}\n`)
