import type { Settings } from '../config/index.js'
import type { Logger } from '../observability/logger.js'
import type { Lifecycle, RunningServer } from './lifecycle.js'

/**
 * Serve the metrics where `metrics_address` says, until the server has closed: so a drain can be watched. Loads nothing where it says
 * nothing.
 * @throws Error where the address is no good; the server is closed then
 */
export async function serveMetrics(
  server: RunningServer,
  { settings: { metricsAddress } }: Settings,
  logger: Logger,
  lifecycle: Lifecycle,
): Promise<void> {
  const { control } = server
  if (metricsAddress === null || control === undefined) return
  const { MetricsEndpoint } = await import('../control/metrics-endpoint.js')
  try {
    const endpoint = await MetricsEndpoint.listen(metricsAddress, control, logger)
    lifecycle.afterClose(() => endpoint.close())
  } catch (error) {
    await server.close()
    throw error
  }
}
