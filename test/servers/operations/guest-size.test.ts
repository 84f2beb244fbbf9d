/** A file that others replace by one of another size, while the guest's kernel believes the old one. */
import assert from 'node:assert/strict'
import { it } from 'node:test'
import { OpenFlags, O_RDWR, O_TRUNC } from '../../frontend/abi.js'
import { codeOf } from '../../frontend/fuse-client.js'
import { describeStores } from '../../support/served.js'
import { SHARED_STORES } from '../../support/stores.js'

const OLD = 'old'
const NEW = 'a longer one'

describeStores('a file that others have made longer', { stores: SHARED_STORES }, (served) => {
  /** The guest knows the file, and has it open; the daemon does not know yet that it is another one. */
  async function replaced(name: string): Promise<{ parent: number; nodeid: number; fh: bigint }> {
    const { client } = served()
    const parent = await served().nodeid()
    await served().view.write(name, OLD)
    const { nodeid } = await client.lookup(parent, name)
    const { fh } = await client.open(nodeid)
    await served().view.write(name, NEW)
    return { parent, nodeid, fh }
  }

  it('is never read by its old size', async () => {
    const { client } = served()
    const { nodeid, fh } = await replaced('read')
    const first = await client.read(nodeid, fh, 0, 4096).catch((error: unknown) => error)
    // Read ahead at the open, before it was replaced; or refused.
    if (first instanceof Error) assert.match(first.message, /ESTALE/)
    else assert.equal(Buffer.from(first as Uint8Array).toString(), OLD)
    await client.release(nodeid, fh)
  })

  it('is looked up again by the guest when it opens it', async () => {
    const { client } = served()
    const { parent, nodeid, fh } = await replaced('opened')
    await client.release(nodeid, fh)
    // The daemon learns of it.
    await served().server.control.invalidate('/m/opened')
    // The driver's second try, as of a kernel that has no path to look up: it must not go by the size that it knows.
    const direct = await client.open(nodeid)
    assert.equal(direct.openFlags & OpenFlags.DIRECT_IO, OpenFlags.DIRECT_IO)
    assert.equal(Buffer.from(await client.read(nodeid, direct.fh, 0, 4096)).toString(), NEW)
    await client.release(nodeid, direct.fh)
    assert.equal((await client.lookup(parent, 'opened')).attr.size, NEW.length)
    const again = await client.open(nodeid)
    assert.equal(again.openFlags & OpenFlags.DIRECT_IO, 0)
    assert.equal(Buffer.from(await client.read(nodeid, again.fh, 0, 4096)).toString(), NEW)
    await client.release(nodeid, again.fh)
  })

  it('is opened at once with O_TRUNC', async () => {
    const { client } = served()
    const { nodeid, fh } = await replaced('truncated')
    await client.release(nodeid, fh)
    await served().server.control.invalidate('/m/truncated')
    const opened = await client.open(nodeid, O_RDWR | O_TRUNC)
    assert.equal(opened.openFlags & OpenFlags.DIRECT_IO, 0)
    assert.equal(await codeOf(client.flush(nodeid, opened.fh)), 'OK')
    await client.release(nodeid, opened.fh)
    assert.equal((await served().view.read('truncated'))?.length, 0)
  })
})
