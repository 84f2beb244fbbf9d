// What is measured on S3: for each work its targets, one sample of one of them, and what ovfsd is to reach.
import { rawSeconds } from './raw-binding-process.mjs'

const RAW_RANGE_BYTES = 4 << 20
const RAW_DEPTHS = [2, 4, 8]
/** As ovfsd has them. */
const RAW_PART_BYTES = 8 << 20
const RAW_PARTS_AT_ONCE = 4
const TRANSFER_DEPTH = 4
const SMALL_FILE_BYTES = 30_000
/** The binding alone, on the condition that nobody has made the object meanwhile, as ovfsd stores a new file. */
const RAW_NEW = 'raw-new'

/**
 * What a work needs: the generator, the objects in the bucket, OpenDAL's options, the options' sizes.
 *
 * @typedef {{ generator: import('./generator.mjs').Generator, objects: import('./s3-objects.mjs').BucketObjects,
 *   s3Options: Record<string, string>, sizeBytes: number, files: number }} Context
 * @typedef {{ seconds: number, items: number, bytes: number, error?: string }} Sample
 *
 * `limit` says what the time of ovfsd goes to, for those who find it below its goal. `ovfsd` is the target that is compared with each of `peers`; `goals` are the least ratios of its rate to the better of
 * the peers and, where there is one, to the binding alone (the last of `raw`).
 * @typedef {{ name: string, title: string, ovfsd: string, peers: readonly string[], raw?: readonly string[],
 *   unit: 'bytes' | 'files', goals: { peers: number, raw?: number }, limit: string,
 *   measure: (target: string, round: number, context: Context) => Promise<Sample>,
 *   prepareWarmUp?: (context: Context) => Promise<void>,
 *   warmUp?: (target: string, context: Context) => Promise<void>,
 *   prepare?: (round: number, context: Context) => Promise<void> }} Work
 */

const directoryOf = (round) => `round-${round}`
/** As much as ovfsd's cache has by default. */
const WARM_UP_BYTES = 256 << 20
const WARM_UP_FILE = `${directoryOf(0)}/warm-up`
/** A directory in which only this target makes files. */
const ownDirectory = (round, target) => `${directoryOf(round)}/${target}`

/** The memory of ovfsd's cache is the kernel's to find when it is touched first: once in a daemon's life. The same for all. */
const WARM_UP = {
  prepareWarmUp: ({ objects }) => objects.makeFile(WARM_UP_FILE, WARM_UP_BYTES),
  warmUp: async (target, { generator }) => {
    if (target === 'raw' || target === RAW_NEW) return
    await generator.run('read', target, WARM_UP_FILE, WARM_UP_BYTES, TRANSFER_DEPTH)
  },
}

/** @type {readonly Work[]} */
export const S3_WORKS = [
  {
    name: 'read',
    title: 'read one file, 1 MiB requests, cold',
    limit:
      "the gateway's own time, as the ratio to the raw binding shows: where the better peer reaches two thirds of that, nobody can be 1.8 times as fast.",
    ...{
      ovfsd: 'ovfsd',
      peers: ['s3fs', 'rclone'],
      raw: ['raw'],
      unit: 'bytes',
      goals: { peers: 1.8, raw: 0.9 },
    },
    prepare: (round, { objects, sizeBytes }) => objects.makeFile(`${directoryOf(round)}/large`, sizeBytes),
    ...WARM_UP,
    measure: async (target, round, context) => {
      const key = `${directoryOf(round)}/large`
      const { sizeBytes } = context
      if (target === 'raw') return { seconds: rawReadSeconds(key, context), items: 1, bytes: sizeBytes }
      return sampleOf(
        await context.generator.run('read', target, key, sizeBytes, TRANSFER_DEPTH),
        1,
        sizeBytes,
      )
    },
  },
  {
    name: 'write',
    title: 'write one file, 1 MiB requests, fsync',
    limit:
      "the gateway's digest and the OSD's write of each part, on the same CPUs, as the ratio to the raw binding's writer shows: where the better peer reaches two thirds of that, nobody can be 1.5 times as fast. Four parts are under way at a time.",
    ...{
      ovfsd: 'ovfsd',
      peers: ['s3fs', 'rclone'],
      raw: ['raw'],
      unit: 'bytes',
      goals: { peers: 1.5 },
    },
    ...WARM_UP,
    measure: async (target, round, context) => {
      const { generator, objects, sizeBytes } = context
      const key = `${ownDirectory(round, target)}/large`
      if (target === 'raw') {
        const job = { upload: key, sizeBytes, partBytes: RAW_PART_BYTES, depth: RAW_PARTS_AT_ONCE }
        const seconds = rawS3Seconds(job, context)
        await objects.removeFile(key)
        return { seconds, items: 1, bytes: sizeBytes }
      }
      const result = await generator.run('write', target, key, sizeBytes, TRANSFER_DEPTH)
      if (result.error === undefined) result.seconds += await objects.untilFile(key, sizeBytes)
      await objects.removeFile(key)
      return sampleOf(result, 1, sizeBytes)
    },
  },
  {
    name: 'create',
    title: 'create, write, close',
    limit:
      'the PUT itself takes four fifths of it by the daemon\'s metrics, on the condition that nobody else has made the file meanwhile, for which the gateway looks at the object first ("raw" does not ask for it, "raw-new" does); the first eight missing names cost a HEAD and a LIST each, further ones a LIST a second.',
    ...{
      ovfsd: 'ovfsd',
      peers: ['s3fs'],
      raw: ['raw', RAW_NEW],
      unit: 'files',
      goals: { peers: 5 },
    },
    ...WARM_UP,
    measure: async (target, round, context) => {
      const { generator, objects, files } = context
      const directory = ownDirectory(round, target)
      if (target === 'raw' || target === RAW_NEW) {
        const onlyNew = target === RAW_NEW
        const seconds = rawS3Seconds(
          { directory, sizeBytes: SMALL_FILE_BYTES, files, depth: 1, onlyNew },
          context,
        )
        return { seconds, items: files, bytes: files * SMALL_FILE_BYTES }
      }
      const result = await generator.run('create', target, directory, files, SMALL_FILE_BYTES)
      if (result.error === undefined)
        result.seconds += await objects.untilFiles(directory, files, SMALL_FILE_BYTES)
      return sampleOf(result, files, files * SMALL_FILE_BYTES)
    },
  },
  {
    name: 'list',
    title: 'list with attributes, cold',
    limit: "one LIST for each thousand names, which the gateway puts together from the bucket's index.",
    ...{ ovfsd: 'ovfsd', peers: ['s3fs'], unit: 'files', goals: { peers: 10 } },
    prepare: (round, { objects, files }) =>
      objects.makeFiles(`${directoryOf(round)}/list`, files, SMALL_FILE_BYTES),
    measure: async (target, round, { generator, files }) =>
      sampleOf(await generator.run('list', target, `${directoryOf(round)}/list`, files), files, 0),
  },
  {
    name: 'read-files',
    title: 'open, read, close, cold',
    limit:
      "one GET each, which is the gateway's own time: up to 16 are under way at a time, before the files are opened. A peer asks for three HEADs and a GET, one after the other.",
    ...{ ovfsd: 'ovfsd', peers: ['s3fs'], unit: 'files', goals: { peers: 3 } },
    prepare: (round, { objects, files }) =>
      objects.makeFiles(`${directoryOf(round)}/read`, files, SMALL_FILE_BYTES),
    measure: async (target, round, { generator, files }) => {
      const directory = `${directoryOf(round)}/read`
      const result = await generator.run('read-files', target, directory, files, SMALL_FILE_BYTES)
      return sampleOf(result, files, files * SMALL_FILE_BYTES)
    },
  },
  {
    name: 'unlink',
    title: 'unlink',
    limit:
      "one DELETE each, which by the daemon's metrics takes nine tenths of it: the gateway's own time, as the ratio to the raw binding shows. A peer asks for a HEAD before it, which costs the gateway less than half as much.",
    ...{ ovfsd: 'ovfsd', peers: ['s3fs'], raw: ['raw'], unit: 'files', goals: { peers: 1.5 } },
    // Those that `create` made.
    measure: async (target, round, context) => {
      const { generator, files } = context
      const directory = ownDirectory(round, target)
      if (target === 'raw')
        return { seconds: rawS3Seconds({ remove: directory, files }, context), items: files, bytes: 0 }
      return sampleOf(await generator.run('unlink', target, directory, files), files, 0)
    },
  },
  {
    name: 'create-back',
    title: 'create, write, close, with write-back, until stored',
    limit: 'the PUTs, which nobody waits for until the end.',
    ...{ ovfsd: 'ovfsd-wb', peers: ['rclone'], unit: 'files', goals: { peers: 2 } },
    measure: async (target, round, { generator, objects, files }) => {
      const directory = ownDirectory(round, target)
      // rclone has nothing to be asked to drain by: its files are waited for.
      const command = target === 'rclone' ? 'create' : 'create+sync'
      const result = await generator.run(command, target, directory, files, SMALL_FILE_BYTES)
      if (result.error === undefined)
        result.seconds += await objects.untilFiles(directory, files, SMALL_FILE_BYTES)
      return sampleOf(result, files, files * SMALL_FILE_BYTES)
    },
  },
]

/** Every directory and object that the chosen works use, before anybody has mounted the bucket. */
export async function prepareObjects(works, rounds, context) {
  const targets = new Set(works.flatMap(({ ovfsd, peers }) => [ovfsd, ...peers]))
  for (let round = 0; round < rounds; round++) {
    await context.objects.makeDirectory(directoryOf(round))
    for (const target of targets) await context.objects.makeDirectory(ownDirectory(round, target))
    for (const work of works) await work.prepare?.(round, context)
  }
  const warmed = works.find(({ prepareWarmUp }) => prepareWarmUp !== undefined)
  await warmed?.prepareWarmUp(context)
}

function sampleOf({ seconds, error }, items, bytes) {
  return error === undefined ? { seconds, items, bytes } : { seconds: 0, items, bytes, error }
}

/** At the best of some depths. */
function rawReadSeconds(key, context) {
  const job = { key, sizeBytes: context.sizeBytes, rangeBytes: RAW_RANGE_BYTES }
  return Math.min(...RAW_DEPTHS.map((depth) => rawS3Seconds({ ...job, depth }, context)))
}

const rawS3Seconds = (job, { s3Options }) => rawSeconds({ scheme: 's3', options: s3Options, ...job })
