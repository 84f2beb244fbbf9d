/** The table of metrics, and what documents make of it. */
import assert from 'node:assert/strict'
import { readFileSync } from 'node:fs'
import { it } from 'node:test'
import {
  METRICS,
  METRICS_BY_GROUP,
  type MetricDefinition,
} from '../../../src/observability/metric-definitions.js'
import { assertExported } from '../../support/dashboard.js'

// dist/test/unit/control/ -> the package's root
const root = new URL('../../../../', import.meta.url)
const documentation = readFileSync(new URL('METRICS.md', root), 'utf8')
const DEFINITIONS: readonly MetricDefinition[] = Object.values(METRICS)

it('follows the conventions of Prometheus', () => {
  for (const { name, type, help, labels } of DEFINITIONS) {
    assert.match(name, /^(?:ovfsd|process|nodejs)(?:_[a-z0-9]+)+$/)
    assert.equal(type === 'counter', name.endsWith('_total'), name)
    assert.doesNotMatch(name, /milliseconds|microseconds|_us\b|_ms\b|kilobytes|_kb\b|_mib\b/)
    if (type === 'histogram') assert.match(name, /_seconds$/)
    assert.match(help, /^[A-Z0-9].*[^ ]$/)
    assert.equal(new Set(labels).size, labels.length)
  }
  assert.equal(new Set(DEFINITIONS.map(({ name }) => name)).size, DEFINITIONS.length)
  const grouped = Object.values(METRICS_BY_GROUP).flatMap((group) => Object.values(group))
  assert.deepEqual(grouped, DEFINITIONS)
})

it('is what METRICS.md shows', async () => {
  const tool = new URL('scripts/lib/metric-tables.mjs', root).href
  const { withMetricTables } = (await import(tool)) as {
    withMetricTables: (text: string) => Promise<string>
  }
  assert.equal(documentation, await withMetricTables(documentation), 'npm run docs makes them anew')
  const damaged = documentation.replace('`ovfsd_inodes`', '`ovfsd_nodes`').replace('`begin_upload`, ', '')
  assert.notEqual(damaged, documentation)
  assert.equal(await withMetricTables(damaged), documentation)
  for (const { name } of DEFINITIONS) assert.ok(documentation.includes(`\`${name}\``), name)
})

it('has what the guide asks Prometheus for', () => {
  const guide = readFileSync(new URL('docs/guides/monitoring.md', root), 'utf8')
  const [, queries = ''] = /^```promql\n([^]*?)^```$/m.exec(guide) ?? []
  const lines = queries.split('\n').filter((line) => line !== '' && !line.startsWith('#'))
  assert.ok(lines.length > 0)
  for (const line of lines) assertExported(line)
})
