/** What becomes of spans on their way to a collector that is not as it should be. */
import assert from 'node:assert/strict'
import { after, before, beforeEach, describe, it } from 'node:test'
import { createLogger } from '../../../src/observability/logger.js'
import { isTracing, traced } from '../../../src/observability/traced.js'
import { HostClock } from '../../../src/observability/host-clock.js'
import { Tracing } from '../../../src/observability/tracing.js'
import { eventually } from '../../support/served.js'
import { Collecting, Receiver, TRACING } from '../../lib/tracing/spans.js'

interface Told {
  readonly dropped: number
  readonly reason: string
}

describe('spans on their way', () => {
  let receiver: Receiver
  const log: string[] = []
  const logger = createLogger({ level: 'info', stream: { write: (line: string) => log.push(line) } })
  before(async () => {
    receiver = await Receiver.start()
  })
  beforeEach(() => {
    log.length = 0
    receiver.spans.length = 0
    receiver.requests = 0
  })
  after(() => receiver.close())

  const start = (change: Partial<typeof TRACING> = {}): Tracing =>
    new Tracing({ settings: { ...TRACING, endpoint: receiver.endpoint, ...change }, logger })
  const work = async (count: number): Promise<void> => {
    for (let i = 0; i < count; i++)
      await traced(
        'work',
        () => ({ mount: 'm', path: `/m/${i}` }),
        () => Promise.resolve(),
      )
  }
  const told = (): Told[] => log.map((line) => JSON.parse(line) as Told)

  it('are sent again when the collector was busy', async () => {
    receiver.answer = (_request, response, take) => {
      if (receiver.requests === 1) response.writeHead(503, { 'retry-after': '0' }).end()
      else {
        take()
        response.end('{}')
      }
    }
    const tracing = start()
    await work(10)
    await tracing.stop()
    assert.equal(receiver.spans.length, 10)
    assert.equal(receiver.requests, 2)
    assert.deepEqual(log, [])
  })

  it('are dropped when the collector refuses them, and it is told once', async () => {
    receiver.answer = (_request, response) => response.writeHead(400, 'no such tenant').end('a long page')
    const tracing = start()
    await work(5)
    await eventually('the first refusal', () => log.length === 1)
    await work(5)
    await eventually('the second refusal', () => receiver.requests === 2)
    await tracing.stop()
    assert.deepEqual(
      told().map(({ dropped }) => dropped),
      [5, 5],
    )
    assert.match(told()[0]?.reason ?? '', /no such tenant/)
  })

  it('wait for a slow collector up to a bound, and are counted beyond it', async () => {
    let release = (): void => undefined
    const released = new Promise<void>((resolve) => {
      release = resolve
    })
    receiver.answer = (_request, response, take) => {
      void released.then(() => {
        take()
        response.end('{}')
      })
    }
    const tracing = start({ queueSize: 600 })
    await work(1000)
    release()
    await tracing.stop()
    assert.equal(receiver.spans.length, 600)
    assert.equal(
      told().reduce((sum, { dropped }) => sum + dropped, 0),
      400,
    )
  })

  it('are sent in batches that a flush can send all at once', async () => {
    const exporter = new Collecting()
    const tracing = new Tracing({ settings: { ...TRACING, exportIntervalMs: 60_000 }, logger, exporter })
    await work(TRACING.queueSize)
    await tracing.stop()
    assert.equal(exporter.spans.length, TRACING.queueSize)
    assert.ok(exporter.batches.every((count) => count <= 1024))
  })

  it('are not made any more when tracing has stopped', async () => {
    const exporter = new Collecting()
    const tracing = new Tracing({ settings: TRACING, logger, exporter })
    assert.ok(isTracing())
    let end = (): void => undefined
    const pending = traced(
      'long',
      () => ({ mount: 'm', path: '/' }),
      () =>
        new Promise<void>((resolve) => {
          end = resolve
        }),
    )
    await tracing.stop()
    assert.ok(!isTracing())
    end()
    await pending
    await work(1)
    assert.deepEqual(exporter.spans, [])
  })

  it('keep what the work returns and throws', async () => {
    const exporter = new Collecting()
    const tracing = new Tracing({ settings: TRACING, logger, exporter })
    const subject = () => ({
      mount: 'm',
      path: '/',
      result: (value: unknown) => ({ 'ovfsd.bytes': value as number }),
    })
    assert.equal(await traced('good', subject, () => Promise.resolve(7)), 7)
    const error = Object.assign(new Error('secret'), { errno: 'EIO' })
    await assert.rejects(
      traced('bad', subject, () => Promise.reject(error)),
      error,
    )
    await tracing.stop()
    const [good, bad] = exporter.spans
    assert.equal(good?.attributes['ovfsd.bytes'], 7)
    assert.deepEqual([bad?.isError, bad?.attributes['error.type']], [true, 'EIO'])
    assert.doesNotMatch(JSON.stringify(bad?.attributes), /secret/)
  })
})

describe('the clock of spans', () => {
  it("is precise to a microsecond, and the host's", () => {
    const clock = new HostClock()
    const [fromS, fromNs] = clock.at(1000.001)
    const [toS, toNs] = clock.at(2500.254)
    assert.ok(Math.abs((toS - fromS) * 1e9 + toNs - fromNs - 1_500_253_000) < 1000)
    const [nowS, nowNs] = clock.at(performance.now())
    assert.ok(Math.abs(nowS * 1000 + nowNs / 1e6 - Date.now()) < 1000)
  })
})
