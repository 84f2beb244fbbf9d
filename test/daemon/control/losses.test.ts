/** What operators are told of data that could not be stored after the guest was told that it is written. */
import assert from 'node:assert/strict'
import { after, before, describe, it } from 'node:test'
import { Metrics } from '../../../src/control/metrics.js'
import { mountViews, statusView, type MountView } from '../../../src/control/views.js'
import { mountsText, statusText } from '../../../src/cli/operate-text.js'
import { O_RDWR } from '../../frontend/abi.js'
import { serve, type Served } from '../../support/served.js'
import { directoryStore } from '../../support/stores.js'

const FACTS = {
  ...{
    version: '1',
    configFile: null,
    socketPath: null,
    lastReload: null,
    logLevel: 'info',
    accessLog: null,
  },
}

describe('a file that others have changed before it was written back', () => {
  let served: Served
  let metrics: Metrics
  before(async () => {
    served = await serve({
      mounts: [{ store: directoryStore }],
      settings: { writeBack: true, dirtyExpireMs: 3_600_000 },
    })
    metrics = new Metrics(served.server.control)
    const files = served.guestFs('m')
    await files.writeFile('shared', 'first')
    await served.server.control.flush(null)
    const file = await files.open('shared', O_RDWR)
    await file.write(0, 'ours!')
    await file.close()
    await served.view.write('shared', Buffer.from('theirs'))
    await served.server.control.flush(null)
  })
  after(async () => {
    metrics.close()
    await served.close()
  })

  function view(): MountView {
    const [mount] = mountViews(served.server.control, (text) => text)
    assert.ok(mount !== undefined)
    return mount
  }

  it('is in the mounts, with the place of the version of the guest', () => {
    const { lostFiles, conflicts, losses } = view()
    assert.deepEqual([lostFiles, conflicts], [0, 1])
    assert.deepEqual(
      losses.map(({ path, kind }) => [path, kind]),
      [['shared', 'conflict']],
    )
    assert.match(losses[0]?.keptAs ?? '', /conflicts.*shared/)
    assert.match(mountsText([view()]).join('\n'), /shared: conflict: .*; kept as .*conflicts/)
  })

  it('is in the status', async () => {
    const status = await statusView(served.server.control, FACTS)
    assert.deepEqual(status.losses, { lostFiles: 0, conflicts: 1 })
    assert.match(statusText(status).join('\n'), /lost +1 file in conflict, kept elsewhere/)
  })

  it('is in the metrics', async () => {
    const text = await metrics.text()
    assert.match(text, /ovfsd_conflicts_total\{mount="[^"]+"\} 1/)
    assert.match(text, /ovfsd_lost_files_total\{mount="[^"]+"\} 0/)
  })

  it('is in the log, once', () => {
    const lines = served.log.filter((line) => line.includes('others have changed a file meanwhile'))
    assert.equal(lines.length, 1)
    assert.match(lines[0] ?? '', /"path":"shared".*"keptAs":/)
  })

  it('counts for the end of the daemon', () => {
    assert.deepEqual(served.server.losses(), { lostFiles: 0, conflicts: 1 })
  })
})
