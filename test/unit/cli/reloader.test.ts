import assert from 'node:assert/strict'
import { EventEmitter, once } from 'node:events'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { describe, it, type TestContext } from 'node:test'
import { Reloader, type ReloadReport } from '../../../src/cli/reloader.js'
import type { ServerChange } from '../../../src/cli/lifecycle.js'
import { loadSettings } from '../../../src/config/index.js'
import { createLogger } from '../../../src/observability/logger.js'

/** A reloader of a file with mount "a", whose server does as `reload` says. */
class Reloading {
  readonly log: string[] = []
  readonly reports: ReloadReport[] = []
  readonly reloader: Reloader
  readonly file: string
  private readonly waiting: (() => void)[] = []

  constructor(t: TestContext, reload: (change: ServerChange) => Promise<readonly string[]>) {
    const directory = mkdtempSync(join(tmpdir(), 'ovfsd-reloader-'))
    t.after(() => {
      rmSync(directory, { recursive: true })
    })
    this.file = join(directory, 'ovfsd.toml')
    this.save('a')
    this.reloader = new Reloader({
      configFile: this.file,
      overrides: {},
      logger: createLogger({ level: 'info', stream: { write: (line: string) => void this.log.push(line) } }),
      server: {
        reload,
        close: () => Promise.resolve(),
        unsaved: () => [],
        losses: () => ({ lostFiles: 0, conflicts: 0 }),
      },
      settings: loadSettings(this.file),
      onReload: (report) => {
        this.reports.push(report)
        for (const wake of this.waiting.splice(0)) wake()
      },
    })
  }

  save(...mounts: string[]): void {
    const profiles = mounts.map((name) => `[profiles.${name}]\ntype = "memory"\nmount_point = "${name}"\n`)
    writeFileSync(this.file, `[ovfsd_settings]\nsocket_path = "/s"\n${profiles.join('')}`)
  }

  async reported(count: number): Promise<void> {
    while (this.reports.length < count) await new Promise<void>((resolve) => this.waiting.push(resolve))
  }

  logged(text: string): number {
    return this.log.filter((line) => line.includes(text)).length
  }
}

describe('a reload', () => {
  it('that fails in the server is told, keeps what was, and does not stand in the way of the next', async (t) => {
    let isBroken = true
    const reloading = new Reloading(t, () =>
      isBroken ? Promise.reject(new Error('no room')) : Promise.resolve([]),
    )
    reloading.save('a', 'b')
    reloading.reloader.request('the file was changed', false)
    await reloading.reported(1)
    assert.deepEqual(reloading.reports[0]?.outcome, {
      ...{ cause: 'the file was changed', outcome: 'refused', detail: 'no room' },
    })
    assert.equal(reloading.reports[0].settings.mounts.length, 1)
    assert.equal(reloading.logged('configuration not reloaded, or not all of it'), 1)
    isBroken = false
    reloading.reloader.request('the file was changed', false)
    await reloading.reported(2)
    assert.equal(reloading.reports[1]?.settings.mounts.length, 2)
  })

  it('on SIGHUP is answered, also when it comes during another one', async (t) => {
    const signals = new EventEmitter()
    let calls = 0
    const reloading = new Reloading(t, async () => {
      if (calls++ > 0) return []
      const goOn = once(signals, 'go-on')
      signals.emit('begun')
      await goOn
      return []
    })
    reloading.save('a', 'b')
    const begun = once(signals, 'begun')
    reloading.reloader.request('the file was changed', false)
    await begun
    reloading.reloader.request('SIGHUP', true)
    reloading.reloader.request('the file was changed', false)
    signals.emit('go-on')
    await reloading.reported(2)
    assert.deepEqual(
      reloading.reports.map(({ outcome }) => outcome?.cause),
      ['the file was changed', 'SIGHUP'],
    )
    assert.equal(reloading.logged('"configuration reloaded"'), 2)
  })

  it('tells which files besides the configuration may cure its faults', async (t) => {
    const reloading = new Reloading(t, () => Promise.resolve([]))
    reloading.save('a')
    writeFileSync(
      reloading.file,
      '[ovfsd_settings]\nsocket_path = "/s"\n[profiles.s]\ntype = "s3"\nmount_point = "s"\nbucket = "b"\nsecret_access_key_file = "/nowhere/secret"\n',
    )
    reloading.reloader.request('the file was changed', false)
    await reloading.reported(1)
    assert.equal(reloading.reports[0]?.outcome?.outcome, 'refused')
    assert.deepEqual(reloading.reports[0].secretFiles, ['/nowhere/secret'])
  })
})
