/** Where the store keeps the time that it is given, a file's mtime is that of its last write: also when it is stored long after. */
import assert from 'node:assert/strict'
import { statSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { after, before, describe, it } from 'node:test'
import { O_CREAT, O_WRONLY } from '../../frontend/abi.js'
import { serve, type Served } from '../../support/served.js'
import { directoryStore } from '../../support/stores.js'

const MIB = 1 << 20
const NS_PER_SECOND = 1_000_000_000n

describe('a file that is stored after it was closed', () => {
  let served: Served
  before(async () => {
    const settings = { writeBack: true, dirtyExpireMs: 3_600_000 }
    served = await serve({ mounts: [{ store: directoryStore }], settings })
  })
  after(() => served.close())

  const nanosecondsOf = async (name: string): Promise<bigint> => {
    const { mtime, mtimensec } = await served.guestFs().stat(name)
    return BigInt(mtime) * NS_PER_SECOND + BigInt(mtimensec)
  }
  const write = async (name: string, offset: number, sizeBytes: number): Promise<void> => {
    const file = await served.guestFs().open(name, O_WRONLY | O_CREAT)
    for (let at = 0; at < sizeBytes; at += MIB)
      await file.write(offset + at, Buffer.alloc(Math.min(MIB, sizeBytes - at), 1))
    await file.close()
  }
  const keepsItsTime = async (name: string): Promise<void> => {
    const written = await nanosecondsOf(name)
    await served.client.syncfs()
    assert.equal(await nanosecondsOf(name), written)
    const { mtimeNs } = statSync(join(served.stores[0]?.hostDirectory ?? '', name), { bigint: true })
    assert.equal(mtimeNs, written)
  }

  it('keeps its time when it is small, and when it is stored again', async () => {
    await write('small', 0, 100)
    await keepsItsTime('small')
    await write('small', 50, 100)
    await keepsItsTime('small')
  })

  it('keeps its time when it was uploaded in a stream', async () => {
    await write('large', 0, 24 * MIB)
    await keepsItsTime('large')
  })

  it('keeps its time when it was appended to in place', async () => {
    writeFileSync(join(served.stores[0]?.hostDirectory ?? '', 'log'), Buffer.alloc(2 * MIB, 1))
    await write('log', 2 * MIB, 100)
    await keepsItsTime('log')
  })

  it('keeps the time that utimens gave it', async () => {
    await write('dated', 0, 100)
    await served.guestFs().setattr('dated', { mtime: 1_000_000_000 })
    await keepsItsTime('dated')
  })
})
