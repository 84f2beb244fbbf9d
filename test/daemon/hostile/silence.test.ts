import assert from 'node:assert/strict'
import { once } from 'node:events'
import net from 'node:net'
import { it } from 'node:test'
import { Daemon } from '../../frontend/daemon.js'
import { memoryStore } from '../../support/stores.js'
import { serve } from '../../support/served.js'

it('who connects and says nothing, or half a message, keeps no virtual machine out for long', async (t) => {
  const served = await serve({ mounts: [{ store: memoryStore }] })
  t.after(() => served.close())
  await served.disconnect()
  for (const said of [Buffer.alloc(0), Buffer.alloc(5, 1)]) {
    const squatter = net.connect(served.socketPath)
    await once(squatter, 'connect')
    squatter.on('error', () => undefined)
    if (said.byteLength > 0) squatter.write(said)
    // It waits in the backlog until then.
    await served.reconnect()
    assert.notEqual((await served.client.lookup(1, 'm')).nodeid, 0)
    await served.disconnect()
    squatter.destroy()
  }
})

it('SIGUSR1 opens no inspector', async (t) => {
  const daemon = Daemon.ovfsdWith({ m: { type: 'memory', mount_point: 'm' } })
  t.after(() => daemon.stop('SIGKILL'))
  const client = await daemon.mount()
  t.after(() => {
    client.close()
  })
  daemon.process.kill('SIGUSR1')
  await client.lookup(1, 'm')
  await client.lookup(1, 'm')
  assert.doesNotMatch(daemon.stderr, /Debugger listening/)
  assert.equal(daemon.running, true)
})
