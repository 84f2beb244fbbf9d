/** The dashboard as Grafana reads it; test/guest/dashboard.test.ts asks Prometheus its queries. */
import assert from 'node:assert/strict'
import { it } from 'node:test'
import { assertExported, queriesOf, readDashboard, replaceVariables } from '../../support/dashboard.js'

const dashboard = readDashboard()
/** Grafana 10.0's. */
const SCHEMA_VERSION = 38
const GRID_COLUMNS = 24

it('is of the schema of Grafana 10, its panels beside each other', () => {
  assert.ok(dashboard.schemaVersion >= SCHEMA_VERSION)
  const ids = dashboard.panels.map(({ id }) => id)
  assert.equal(new Set(ids).size, ids.length)
  const taken = new Set<string>()
  for (const { title, gridPos } of dashboard.panels) {
    assert.ok(gridPos.x + gridPos.w <= GRID_COLUMNS, title)
    for (let x = gridPos.x; x < gridPos.x + gridPos.w; x++) {
      for (let y = gridPos.y; y < gridPos.y + gridPos.h; y++) {
        assert.ok(!taken.has(`${x},${y}`), `${title} lies over another panel`)
        taken.add(`${x},${y}`)
      }
    }
  }
})

it('lets one choose the Prometheus, the daemon and the mount', () => {
  assert.deepEqual(
    dashboard.templating.list.map(({ name, type }) => [name, type]),
    [
      ['datasource', 'datasource'],
      ['instance', 'query'],
      ['mount', 'query'],
    ],
  )
  for (const { definition } of dashboard.templating.list) {
    if (definition === undefined) continue
    const [, selector = '', label = ''] = /^label_values\((.*), (\w+)\)$/.exec(definition) ?? []
    assertExported(`count by (${label}) (${selector})`)
  }
})

it('asks for nothing that is not exported', () => {
  const queries = queriesOf(dashboard)
  assert.ok(queries.length > 40)
  for (const { name, expr, legend } of queries) {
    assertExported(replaceVariables(expr, '1m'))
    // What a legend names, the result has.
    const groups = [...expr.matchAll(/\bby \(([^)]*)\)/g)].flatMap(([, names = '']) => names.split(', '))
    for (const [, label = ''] of legend.matchAll(/\{\{(\w+)\}\}/g)) assert.ok(groups.includes(label), name)
  }
})

it('would be found out', () => {
  for (const wrong of [
    'sum(rate(ovfsd_operations{mount=~".*"}[1m]))',
    'sum(rate(ovfsd_operations_total{store=~".*"}[1m]))',
    'sum by (errno) (rate(ovfsd_operations_total[1m]))',
    'ovfsd_operation_duration_seconds',
    'sum(rate(ovfsd_operation_duration_seconds_sum{le="1"}[1m]))',
    'ovfsd_inodes / nothing',
    'vector(1)',
  ]) {
    assert.throws(() => {
      assertExported(wrong)
    }, wrong)
  }
})
