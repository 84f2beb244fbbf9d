/** All metrics as Prometheus reads them. */
import { monitorEventLoopDelay, type IntervalHistogram } from 'node:perf_hooks'
import { getHeapStatistics } from 'node:v8'
import type { Metric, Registry } from 'prom-client'
import { METRICS, type MetricDefinition, type MetricKey } from '../observability/metric-definitions.js'
import { packageVersion } from '../observability/package-version.js'
import type { Server } from '../virtio/server.js'
import { addGauges, addOperations, Samples } from './metric-samples.js'

/** A timer of this period, ms, tells how late the loop is: the kernel's own are often a millisecond late. */
const LAG_RESOLUTION_MS = 20
const MS_PER_SECOND = 1000
const US_PER_SECOND = 1e6
const NS_PER_SECOND = 1e9
const P99 = 99

/** What metrics are made of. */
export type MetricsSource = Pick<Server, 'operations' | 'gauges'>

/** The exporter. The loop's lag is watched from its construction until `close`; prom-client is loaded by the first `text`. */
export class Metrics {
  /** The format of `text`, as HTTP calls it. */
  static readonly CONTENT_TYPE = 'text/plain; version=0.0.4; charset=utf-8'
  private readonly lag: IntervalHistogram
  private readonly startSeconds = Date.now() / MS_PER_SECOND - process.uptime()
  private readonly version = packageVersion()
  private samples = new Samples()
  private registry: Promise<Registry> | null = null

  constructor(private readonly server: MetricsSource) {
    this.lag = monitorEventLoopDelay({ resolution: LAG_RESOLUTION_MS })
    this.lag.enable()
  }

  /** The values of all metrics at this moment, in Prometheus's text format. */
  async text(): Promise<string> {
    this.registry ??= this.makeRegistry()
    const registry = await this.registry
    // prom-client asks every metric for its values before it waits for anything, so they are all of one moment.
    this.samples = this.collect()
    return registry.metrics()
  }

  close(): void {
    this.lag.disable()
  }

  /** The metrics are counted where things happen; prom-client's own would have to be told of each request. */
  private async makeRegistry(): Promise<Registry> {
    const { Registry } = await import('prom-client')
    const registry = new Registry()
    for (const key of Object.keys(METRICS) as MetricKey[]) {
      const definition: MetricDefinition = METRICS[key]
      const metric = { name: definition.name, get: () => this.valuesOf(key, definition) }
      registry.registerMetric(metric as unknown as Metric)
    }
    return registry
  }

  private valuesOf(key: MetricKey, { name, type, help }: MetricDefinition): object {
    const values = this.samples.of(key).map(({ labels, value, suffix }) => ({
      ...{ labels, value },
      ...(suffix !== undefined && { metricName: `${name}${suffix}` }),
    }))
    return { name, type, help, values, aggregator: 'sum' }
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
