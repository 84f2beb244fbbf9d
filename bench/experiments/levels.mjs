// The levels at which applications are tried: none of an interposer, and some of each. Rules are those of `rulesText`.

/** What stands for no rules, on every axis. */
export const NONE = 'none'
/** Of all levels those of a short run, by their places. */
const QUICK = [1, 3]

/** Reads, writes and everything else: each as often as this a second. */
const operations = (rate) => ({
  label: `${rate}/s`,
  rules: {
    throttle: {
      ...{ read_operations_per_second: rate, write_operations_per_second: rate },
      other_operations_per_second: rate,
    },
  },
})
const kibibytes = (kib) => ({
  label: `${kib} KiB/s`,
  rules: { throttle: { read_bytes_per_second: `${kib}KiB`, write_bytes_per_second: `${kib}KiB` } },
})
const delay = (ms) => ({
  label: `${ms} ms`,
  rules: { delay: [{ distribution: 'fixed', time: `${ms}ms` }] },
})
/** @param {readonly string[] | undefined} only these operations */
const fault = (percent, only) => ({
  label: `${percent} %`,
  rules: {
    fault: [
      { errno: 'EIO', probability: percent / 100, ...(only === undefined ? {} : { operations: only }) },
    ],
  },
})

/**
 * @typedef {{ label: string, rules: object }} Level
 * @typedef {{ kind: 'throttle' | 'delay' | 'fault', what: string, levels: readonly Level[] }} Interposing
 */

/** @type {Readonly<Record<string, readonly Interposing[]>>} by application */
export const LEVELS = {
  database: [
    {
      ...{ kind: 'throttle', what: 'reads, writes and other operations, each so many a second' },
      levels: [400, 200, 100, 50].map(operations),
    },
    { kind: 'delay', what: 'every operation takes longer', levels: [1, 2, 5, 10].map(delay) },
    {
      ...{ kind: 'fault', what: 'EIO for this part of reads, writes and fsyncs' },
      levels: [0.3, 1, 3, 10].map((percent) => fault(percent, ['read', 'write', 'fsync'])),
    },
  ],
  build: [
    {
      ...{ kind: 'throttle', what: 'reads, writes and other operations, each so many a second' },
      levels: [200, 100, 50, 20].map(operations),
    },
    { kind: 'delay', what: 'every operation takes longer', levels: [5, 10, 20, 50].map(delay) },
    {
      ...{ kind: 'fault', what: 'EIO for this part of all operations' },
      levels: [0.1, 0.3, 1, 3].map((percent) => fault(percent)),
    },
  ],
  'object-store': [
    {
      ...{ kind: 'throttle', what: 'bytes read, and bytes written, a second' },
      levels: [2048, 1024, 512, 256].map(kibibytes),
    },
    { kind: 'delay', what: 'every operation takes longer', levels: [5, 10, 20, 50].map(delay) },
    {
      ...{ kind: 'fault', what: 'EIO for this part of all operations' },
      levels: [0.3, 1, 3, 10].map((percent) => fault(percent)),
    },
  ],
}

/** Those of an application. @returns {Interposing[]} */
export function levelsOf(application, quick) {
  return LEVELS[application].map((interposing) =>
    quick
      ? { ...interposing, levels: interposing.levels.filter((_, place) => QUICK.includes(place)) }
      : interposing,
  )
}
