/** All metrics as Prometheus reads them. */
import { monitorEventLoopDelay, type IntervalHistogram } from 'node:perf_hooks'
import { setImmediate as nextTurn } from 'node:timers/promises'
import { getHeapStatistics } from 'node:v8'
import type { Metric, Registry } from 'prom-client'
import { METRICS, type MetricDefinition, type MetricKey } from '../observability/metric-definitions.js'
import { packageVersion } from '../observability/package-version.js'
import type { ServerControl } from '../server/server-control.js'
import { addGauges, addOperations, Samples, type Sample } from './metric-samples.js'

/** A timer of this period, ms, tells how late the loop is: the kernel's own are often a millisecond late. */
const LAG_RESOLUTION_MS = 20
const MS_PER_SECOND = 1000
const US_PER_SECOND = 1e6
const NS_PER_SECOND = 1e9
const P99 = 99
/** Lines that are formatted in one turn of the loop: a millisecond or two, in which guests wait. */
const PORTION_LINES = 500

const KEYS = Object.keys(METRICS) as MetricKey[]

/** What metrics are made of. */
export type MetricsSource = Pick<ServerControl, 'operations' | 'gauges'>

/** The exporter. The loop's lag is watched from its construction until `close`; prom-client is loaded by the first `text`. */
export class Metrics {
  /** The format of `text`, as HTTP calls it. */
  static readonly CONTENT_TYPE = 'text/plain; version=0.0.4; charset=utf-8'
  private readonly lag: IntervalHistogram
  private readonly startSeconds = Date.now() / MS_PER_SECOND - process.uptime()
  private readonly version = packageVersion()
  private registry: Promise<Registry> | null = null
  /** What the metric that prom-client is about to ask has. */
  private portion: readonly Sample[] = []

  constructor(private readonly server: MetricsSource) {
    this.lag = monitorEventLoopDelay({ resolution: LAG_RESOLUTION_MS })
    this.lag.enable()
  }

  /** The values of all metrics at this moment, in Prometheus's text format. */
  async text(): Promise<string> {
    this.registry ??= this.makeRegistry()
    const registry = await this.registry
    const samples = this.collect()
    const parts: string[] = []
    for (const key of KEYS) parts.push(...(await this.format(registry, key, samples.of(key))), '')
    return parts.join('\n')
  }

  /** A metric's lines, in portions, between which guests are served. */
  private async format(registry: Registry, key: MetricKey, samples: readonly Sample[]): Promise<string[]> {
    const parts: string[] = []
    for (let first = 0; first === 0 || first < samples.length; first += PORTION_LINES) {
      this.portion = samples.slice(first, first + PORTION_LINES)
      // It asks the metric for its values before it waits for anything.
      const text = await registry.getSingleMetricAsString(METRICS[key].name)
      parts.push(first === 0 ? text : withoutHead(text))
      if (samples.length > PORTION_LINES) await nextTurn()
    }
    return parts
  }

  close(): void {
    this.lag.disable()
  }

  /** The metrics are counted where things happen; prom-client's own would have to be told of each request. */
  private async makeRegistry(): Promise<Registry> {
    const { Registry } = await import('prom-client')
    const registry = new Registry()
    for (const key of KEYS) {
      const { name, type, help }: MetricDefinition = METRICS[key]
      const metric = { name, get: () => ({ name, type, help, values: this.portion, aggregator: 'sum' }) }
      registry.registerMetric(metric as unknown as Metric)
    }
    return registry
  }

  private collect(): Samples {
    const samples = new Samples()
    addOperations(samples, this.server.operations())
    addGauges(samples, this.server.gauges())
    this.addProcess(samples)
    this.addLag(samples)
    return samples
  }

  private addProcess(samples: Samples): void {
    const { user, system } = process.cpuUsage()
    samples.add('buildInfo', 1, { version: this.version, node_version: process.version })
    samples.add('residentBytes', process.memoryUsage.rss())
    samples.add('heapBytes', getHeapStatistics().used_heap_size)
    samples.add('cpuSeconds', (user + system) / US_PER_SECOND)
    samples.add('startTime', this.startSeconds)
  }

  private addLag(samples: Samples): void {
    const { lag } = this
    // What is measured is from one timer to the next.
    const seconds = (ns: number): number =>
      lag.count === 0 ? 0 : Math.max(0, ns / NS_PER_SECOND - LAG_RESOLUTION_MS / MS_PER_SECOND)
    samples.add('loopLagMean', seconds(lag.mean))
    samples.add('loopLagP99', seconds(lag.percentile(P99)))
    samples.add('loopLagMax', seconds(lag.max))
    lag.reset()
  }
}

/** Without the lines of HELP and TYPE, which a metric may have once. */
function withoutHead(text: string): string {
  return text.split('\n').slice(2).join('\n')
}
