// `npm run bench -- listing`: what listings of large directories take of a daemon: memory, the loop's stalls, time, requests.
import { SetupError } from '../../scripts/lib/steps.mjs'
import { setUp } from '../../scripts/setup.mjs'

const SIZES = [10_000, 100_000, 1_000_000]
const MIB = 2 ** 20

/** @param {readonly string[]} args sizes; none: 10^4, 10^5 and 10^6 */
export async function benchListing(args) {
  const sizes = args.length > 0 ? args.map(Number) : SIZES
  if (!sizes.every((size) => Number.isSafeInteger(size) && size > 0))
    throw new SetupError(`usage: npm run bench -- listing [SIZE ...], of names: ${args.join(' ')}`, 2)
  await setUp('test')
  const { measureListing, prepareStore } = await import('../../dist/test/support/large-directory.js')
  console.log(
    '| store | names | request | memory, MiB | longest work, ms | longest stall, ms | seconds | LIST |',
  )
  console.log(
    '| ----- | ----: | ------- | ----------: | ---------------: | ----------------: | ------: | ---: |',
  )
  for (const type of ['fs', 's3']) {
    for (const size of sizes) {
      const store = await prepareStore(type, size)
      try {
        for (const by of ['READDIR', 'READDIRPLUS']) {
          const { names, memoryBytes, loop, seconds, requests } = await measureListing(store, by)
          const cells = [
            ...[type, names, by, (memoryBytes / MIB).toFixed(0), loop.longestWorkMs.toFixed(1)],
            ...[loop.longestMs.toFixed(1), seconds.toFixed(1), requests.LIST ?? ''],
          ]
          console.log(`| ${cells.join(' | ')} |`)
        }
      } finally {
        store.dispose()
      }
    }
  }
}
