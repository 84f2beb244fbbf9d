// `npm run docs`: write the parts of the documents that are made of the code.
import { readFileSync, writeFileSync } from 'node:fs'
import { inRoot } from './lib/paths.mjs'
import { runMain, setUp } from './setup.mjs'

await runMain(async () => {
  await setUp('build')
  const { withKeyTables } = await import('./lib/key-tables.mjs')
  const file = inRoot('CONFIGURATION.md')
  writeFileSync(file, await withKeyTables(readFileSync(file, 'utf8')))
  const { withMetricTables } = await import('./lib/metric-tables.mjs')
  const metrics = inRoot('METRICS.md')
  writeFileSync(metrics, await withMetricTables(readFileSync(metrics, 'utf8')))
})
