// A client of an object store: small files made, listed, read back and removed on Ceph's S3.
const FILES = 30
const FILE_BYTES = 30_000
const RUN_TIMEOUT_MS = 180_000
const PROGRAM = 'guest-object-files'

/** @param {string} output of guest-object-files @returns {{ work: string, operations: number, failed: number, wrong: number, seconds: number,
 *   errors: string[] }[]} */
export const phasesOf = (output) =>
  output
    .trim()
    .split('\n')
    .map((line) => JSON.parse(line))

/** @type {import('./applications.mjs').Application} */
export const objectStore = {
  ...{ name: 'object-store', profile: 'objects', unit: 'files/s', needsStore: true },
  title: 'An object store (Ceph S3)',
  series: ['create', 'read', 'remove'],
  what: `${FILES} files of ${FILE_BYTES / 1000} KB, one after the other, on a mount of \`type = "s3"\`: created, listed, read back and compared after the guest's caches were dropped, and removed. Files that failed don't count in the rates.`,
  program: PROGRAM,

  /** Once: the program. */
  async install({ guest, shared }) {
    await guest.sh(`cp ${shared}/${PROGRAM} /tmp; chmod +x /tmp/${PROGRAM}`)
  },

  async prepare({ guest, directory }) {
    await guest.sh(`mkdir ${directory}`)
  },

  async run({ guest, directory }) {
    const phases = phasesOf(
      await guest.sh(`/tmp/${PROGRAM} ${directory} ${FILES} ${FILE_BYTES}`, RUN_TIMEOUT_MS),
    )
    const sum = (key) => phases.reduce((total, phase) => total + phase[key], 0)
    const rates = Object.fromEntries(
      phases
        .filter(({ work }) => this.series.includes(work))
        .map(({ work, operations, failed, wrong, seconds }) => [
          work,
          (operations - failed - wrong) / seconds,
        ]),
    )
    return {
      ...{ rates, seconds: sum('seconds'), attempted: sum('operations'), failed: sum('failed') },
      ...{ wrong: sum('wrong'), messages: [...new Set(phases.flatMap(({ errors }) => errors))] },
    }
  },

  async check(_context, { wrong }) {
    return {
      isSound: wrong === 0,
      note: wrong === 0 ? 'all that was read was right' : `${wrong} had other contents`,
    }
  },
}
