/** Debian's Prometheus on loopback, as scripts/lib/servers-prometheus.mjs unpacked it, which scrapes one daemon. */
import { existsSync, writeFileSync } from 'node:fs'
import path from 'node:path'
import { prometheusDirectory } from './locations.js'
import { portAt, reservePorts, type PortBlock } from './ports.js'
import { ServerProcess } from './server-process.js'
import { createStateDirectory, type StateDirectory } from './state-directory.js'
import { answers, LOOPBACK } from './storage-server.js'

const PROGRAM = path.join(prometheusDirectory, 'usr/bin/prometheus')
/** Checks what an exporter says. */
export const promtool = path.join(prometheusDirectory, 'usr/bin/promtool')

const START_DEADLINE_MS = 60_000
/** As short as its configuration can say in whole seconds: a test waits for several. */
const SCRAPE_INTERVAL_SECONDS = 1

/** One element of a query's result. */
export interface QuerySample {
  readonly metric: Readonly<Record<string, string>>
  /** As the API has it: text, since it may be "NaN" or "+Inf". */
  readonly value: readonly [timestamp: number, value: string]
}

interface Answer {
  readonly status: string
  readonly error?: string
  readonly data?: { readonly result: readonly QuerySample[] }
}

export class Prometheus {
  readonly endpoint: string

  private constructor(
    private readonly server: ServerProcess,
    private readonly state: StateDirectory,
    private readonly block: PortBlock,
  ) {
    this.endpoint = `http://${LOOPBACK}:${portAt(block, 0)}`
  }

  /** Scrape `http://ADDRESS/metrics` every second from now on. */
  static async start(address: string): Promise<Prometheus> {
    if (!existsSync(PROGRAM))
      throw new Error('Prometheus has not been fetched: run "node scripts/setup.mjs servers"')
    const state = createStateDirectory('prometheus', [])
    const block = await reservePorts()
    const configuration = path.join(state.path, 'prometheus.yml')
    writeFileSync(
      configuration,
      `global: { scrape_interval: ${SCRAPE_INTERVAL_SECONDS}s }
scrape_configs: [{ job_name: ovfsd, static_configs: [{ targets: ['${address}'] }] }]
`,
    )
    const server = new ServerProcess({
      name: 'prometheus',
      command: PROGRAM,
      args: [
        `--config.file=${configuration}`,
        `--storage.tsdb.path=${path.join(state.path, 'data')}`,
        `--web.listen-address=${LOOPBACK}:${portAt(block, 0)}`,
      ],
      environment: {},
      logDirectory: state.path,
    })
    const prometheus = new Prometheus(server, state, block)
    await server.untilReady('answers', START_DEADLINE_MS, () => answers(`${prometheus.endpoint}/-/ready`))
    return prometheus
  }

  /** @throws Error with Prometheus's own words for a query that is none */
  async query(expression: string): Promise<readonly QuerySample[]> {
    const response = await fetch(`${this.endpoint}/api/v1/query`, {
      method: 'POST',
      body: new URLSearchParams({ query: expression }),
    })
    const { status, error, data } = (await response.json()) as Answer
    if (status !== 'success' || data === undefined) throw new Error(`${expression}: ${error ?? status}`)
    return data.result
  }

  async stop(): Promise<void> {
    await this.server.stop()
    this.block.release()
    this.state.remove()
  }
}
