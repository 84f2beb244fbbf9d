// `npm run bench`: what is measured is in bench/lib, one file for each kind of measurement.
import { SetupError } from './lib/steps.mjs'
import { runMain } from './setup.mjs'

/** Imported when it is chosen: what one needs may not be built for another. */
const MODES = {
  counting: async (args) => (await import('../bench/lib/counting.mjs')).benchCounting(args),
  experiments: async (args) => (await import('../bench/experiments/experiments.mjs')).benchExperiments(args),
  guest: async (args) => (await import('../bench/lib/guest.mjs')).benchGuest(args),
  listing: async (args) => (await import('../bench/lib/listing.mjs')).benchListing(args),
  local: async (args) => (await import('../bench/lib/local.mjs')).benchLocal(args),
  report: async (args) => (await import('../bench/lib/full-report.mjs')).benchReport(args),
  start: async (args) => (await import('../bench/lib/start.mjs')).benchStart(args),
  s3: async (args) => (await import('../bench/lib/s3.mjs')).benchS3(args),
}

await runMain(async () => {
  const [first, ...rest] = process.argv.slice(2)
  if (first === undefined || first.startsWith('-')) {
    await MODES.local(process.argv.slice(2))
  } else if (Object.hasOwn(MODES, first)) {
    await MODES[first](rest)
  } else {
    throw new SetupError(`usage: npm run bench -- ${Object.keys(MODES).join('|')} [options]`, 2)
  }
})
