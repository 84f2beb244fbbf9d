import type { MetricsSource } from '../control/metrics.js'
import type { Settings } from '../config/index.js'
import type { Logger } from '../observability/logger.js'
import type { Lifecycle, RunningServer } from './lifecycle.js'

/**
 * Serve the metrics where `metrics_address` says, until the server has closed: so a drain can be watched. Loads nothing where it says
 * nothing.
 * @throws Error where the address is no good; the server is closed then
 */
export async function serveMetrics(
  server: RunningServer & Partial<MetricsSource>,
  { settings: { metricsAddress } }: Settings,
  logger: Logger,
  lifecycle: Lifecycle,
): Promise<void> {
  if (metricsAddress === null || !isMetricsSource(server)) return
  const { MetricsEndpoint } = await import('../control/metrics-endpoint.js')
  try {
    const endpoint = await MetricsEndpoint.listen(metricsAddress, server, logger)
    lifecycle.afterClose(() => endpoint.close())
  } catch (error) {
    await server.close()
    throw error
  }
}

/** False for the servers of tests. */
function isMetricsSource(server: Partial<MetricsSource>): server is RunningServer & MetricsSource {
  return server.gauges !== undefined && server.operations !== undefined
}
