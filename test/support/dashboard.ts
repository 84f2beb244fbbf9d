/** The dashboard for Grafana, and what Grafana makes of its queries before it asks Prometheus. */
import assert from 'node:assert/strict'
import { readFileSync } from 'node:fs'
import { METRICS, type MetricDefinition } from '../../src/observability/metric-definitions.js'

interface Panel {
  readonly id: number
  readonly type: string
  readonly title: string
  readonly gridPos: { readonly h: number; readonly w: number; readonly x: number; readonly y: number }
  readonly targets?: readonly {
    readonly refId: string
    readonly expr: string
    readonly legendFormat: string
  }[]
}

export interface Dashboard {
  readonly schemaVersion: number
  readonly panels: readonly Panel[]
  readonly templating: {
    readonly list: readonly { readonly name: string; readonly type: string; readonly definition?: string }[]
  }
}

// dist/test/support/ -> the package's root
const file = new URL('../../../packaging/grafana/ovfsd-dashboard.json', import.meta.url)

export function readDashboard(): Dashboard {
  return JSON.parse(readFileSync(file, 'utf8')) as Dashboard
}

/** A query of a panel, and how messages call it. */
export interface PanelQuery {
  readonly name: string
  readonly expr: string
  readonly legend: string
}

export function queriesOf({ panels }: Dashboard): PanelQuery[] {
  let row = ''
  const queries: PanelQuery[] = []
  for (const { type, title, targets } of panels) {
    if (type === 'row') row = title
    for (const { refId, expr, legendFormat } of targets ?? [])
      queries.push({ name: `${row} / ${title} / ${refId}`, expr, legend: legendFormat })
  }
  return queries
}

/** With all daemons and mounts chosen, as Grafana asks. */
export function replaceVariables(expr: string, rateInterval: string): string {
  const replaced = expr
    .replaceAll('$__rate_interval', rateInterval)
    .replaceAll(/\$(?:instance|mount)\b/g, '.*')
  assert.ok(!replaced.includes('$'), replaced)
  return replaced
}

/** Prometheus adds these by itself, or they are of a histogram's buckets. */
const OTHER_LABELS = ['instance', 'job']
const FUNCTIONS = ['sum', 'min', 'max', 'count', 'rate', 'time', 'histogram_quantile', 'by', 'on', 'and']
const DEFINITIONS: readonly MetricDefinition[] = Object.values(METRICS)

function labelsOf(name: string): readonly string[] {
  const definition = DEFINITIONS.find((known) => known.name === name && known.type !== 'histogram')
  if (definition !== undefined) return definition.labels
  const [, base = '', suffix] = /^(.*)_(bucket|sum|count)$/.exec(name) ?? []
  const histogram = DEFINITIONS.find((known) => known.name === base && known.type === 'histogram')
  assert.ok(histogram !== undefined, `${name} is not exported`)
  return suffix === 'bucket' ? [...histogram.labels, 'le'] : histogram.labels
}

/** Fails for a metric that the daemon does not export, and for a label that none of the query's metrics has. */
export function assertExported(expr: string): void {
  const text = expr.replaceAll(/"[^"]*"/g, '""').replaceAll(/\[[^\]]*\]/g, '')
  const selectors = [...text.matchAll(/([a-z_][a-z0-9_]*)\s*(\{[^}]*\})?/g)]
  // What groups is looked at below, with the labels of all metrics.
  const groups = [...text.matchAll(/\b(?:by|on)\s*\(([^)]*)\)/g)].flatMap(([, names = '']) =>
    names.split(',').map((name) => name.trim()),
  )
  const known = new Set(OTHER_LABELS)
  let count = 0
  for (const [, name = '', matchers = ''] of selectors) {
    if (!/^(?:ovfsd|process|nodejs)_/.test(name)) continue
    count++
    const labels = [...OTHER_LABELS, ...labelsOf(name)]
    for (const label of labels) known.add(label)
    for (const [, label = ''] of matchers.matchAll(/([a-z_]+)\s*(?:=~|!~|!=|=)/g))
      assert.ok(labels.includes(label), `${name} has no label ${label}: ${expr}`)
  }
  assert.ok(count > 0, `no metric in ${expr}`)
  for (const label of groups) assert.ok(known.has(label), `nothing has a label ${label}: ${expr}`)
  const words = text.replaceAll(/\{[^}]*\}|\b(?:by|on)\s*\([^)]*\)/g, '').matchAll(/[a-z_][a-z0-9_]*/g)
  for (const [word] of words) {
    if (!FUNCTIONS.includes(word)) labelsOf(word)
  }
}
