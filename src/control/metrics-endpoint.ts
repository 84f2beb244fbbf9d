/** Where Prometheus fetches the metrics. */
import type { ListenAddress } from '../config/values.js'
import type { Logger } from '../observability/logger.js'
import { HttpEndpoint, type Route } from './http-endpoint.js'
import { Metrics, type MetricsSource } from './metrics.js'

const PATH = '/metrics'

/** What a person sees who looks there. */
const INDEX = `ovfsd: the metrics are at ${PATH}, in Prometheus's text format; METRICS.md says what they mean.\n`

export class MetricsEndpoint {
  private constructor(
    private readonly endpoint: HttpEndpoint,
    private readonly metrics: Metrics,
  ) {}

  /** @throws Error that says which setting is to be changed */
  static async listen(
    address: ListenAddress,
    server: MetricsSource,
    logger: Logger,
  ): Promise<MetricsEndpoint> {
    const metrics = new Metrics(server)
    const routes = new Map<string, Route>([
      [`GET ${PATH}`, metricsRoute(metrics)],
      [
        'GET /',
        (_, response) => {
          response.writeHead(200, { 'content-type': 'text/plain; charset=utf-8' })
          response.end(INDEX)
        },
      ],
    ])
    try {
      const endpoint = await HttpEndpoint.listen(address, routes, (error) => {
        logger.error({ err: error }, 'metrics could not be served')
      })
      logger.info({ address: describe(endpoint.address) }, 'metrics are served')
      return new MetricsEndpoint(endpoint, metrics)
    } catch (error) {
      metrics.close()
      const reason = error instanceof Error ? error.message : String(error)
      throw new Error(`metrics_address: can't listen at ${describe(address)}: ${reason}`, { cause: error })
    }
  }

  /** Where it listens; a port of 0 has become a real one. */
  get address(): ListenAddress {
    return this.endpoint.address
  }

  async close(): Promise<void> {
    this.metrics.close()
    await this.endpoint.close()
  }
}

function metricsRoute(metrics: Metrics): Route {
  return async (_, response) => {
    const text = await metrics.text()
    response.writeHead(200, { 'content-type': Metrics.CONTENT_TYPE })
    response.end(text)
  }
}

/** As `metrics_address` is written. */
function describe(address: ListenAddress): string {
  if ('path' in address) return `unix:${address.path}`
  return address.host.includes(':') ? `[${address.host}]:${address.port}` : `${address.host}:${address.port}`
}
