/**
 * Random bytes in the rings and on the socket of a real daemon, end to end: it lives, answers the next well-behaved
 * guest, and holds no more fds and mappings than before.
 */
import assert from 'node:assert/strict'
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, before, describe, it, type TestContext } from 'node:test'
import { Opcode, PAGE_BYTES, StructBytes } from '../../frontend/abi.js'
import { Daemon, OVFSD_MOUNT_POINT } from '../../frontend/daemon.js'
import type { FrontEnd } from '../../frontend/front-end.js'
import type { FuseClient } from '../../frontend/fuse-client.js'
import { Writer } from '../../frontend/fuse-structs.js'
import { GuestFs } from '../../frontend/guest-fs.js'
import {
  DESC_F_INDIRECT,
  DESC_F_NEXT,
  DESC_F_WRITE,
  RawVring,
  type Descriptor,
} from '../../frontend/raw-vring.js'
import { eventually } from '../../support/served.js'
import { caseCount, chooseSeed, Random } from '../../lib/hostile/random.js'

const RING_CASES = 1000
const SOCKET_CASES = 1000
const VANISH_CASES = 100
/** Cases between two looks at whether a well-behaved guest is served. */
const CHECK_EVERY = 20
const QUEUE_SIZE = 64
const MEMORY_BYTES = 4 << 20

/** vhost-user requests that a front-end may send, unknown numbers among them. */
const LAST_VHOST_USER_REQUEST = 45

describe(
  'a daemon among hostile front-ends',
  { skip: existsSync('/proc/self/maps') ? false : 'needs /proc' },
  () => {
    let directory = ''
    let daemon: Daemon | undefined
    let baseline = { fds: 0, maps: 0 }
    let seed = 0

    before(async () => {
      directory = mkdtempSync(join(tmpdir(), 'ovfsd-hostile-'))
      daemon = Daemon.ovfsd(directory, 'cache_size = "16MiB"\nlog_level = "info"')
      // Whatever is made once, at first use, is there from now on.
      for (let round = 0; round < 3; round++) await serveWell(round)
      await settled()
      baseline = holdings()
    })
    after(async () => {
      const code = await daemon?.stop()
      rmSync(directory, { recursive: true, force: true })
      assert.equal(code, 0, 'the daemon ends as it should')
    })

    function theDaemon(): Daemon {
      assert.ok(daemon?.running, `the daemon is gone: ${daemon?.stderr.slice(-2000) ?? ''}`)
      return daemon
    }

    /** Open fds, and mappings of memory that came over the socket. */
    function holdings(): { fds: number; maps: number } {
      const proc = `/proc/${theDaemon().process.pid ?? 0}`
      const maps = readFileSync(`${proc}/maps`, 'utf8').split('\n')
      return {
        fds: readdirSync(`${proc}/fd`).length,
        maps: maps.filter((line) => line.includes('memfd:')).length,
      }
    }

    async function settled(): Promise<void> {
      let before = holdings()
      await eventually('the daemon is at rest', async () => {
        await new Promise((resolve) => setTimeout(resolve, 20))
        const now = holdings()
        const isSame = now.fds === before.fds && now.maps === before.maps
        before = now
        return isSame
      })
    }

    function start(t: TestContext): Random {
      seed = chooseSeed((message) => {
        t.diagnostic(message)
      })
      return new Random(seed)
    }

    /** What every guest may expect, from a connection of its own. */
    async function serveWell(round: number): Promise<void> {
      const client = await theDaemon().mount({ memoryBytes: MEMORY_BYTES })
      try {
        await useWell(client, round)
      } finally {
        client.close()
      }
    }

    async function useWell(client: FuseClient, round: number): Promise<void> {
      const fs = new GuestFs(client, { base: OVFSD_MOUNT_POINT })
      await fs.writeFile('well-behaved', `round ${round}`)
      assert.equal(await fs.readText('well-behaved'), `round ${round}`, `OVFSD_SEED=${seed}`)
      await fs.unlink('well-behaved')
    }

    async function checkNothingIsLeft(): Promise<void> {
      await serveWell(0)
      await eventually('fds and mappings are back to where they started', () => {
        const now = holdings()
        return now.fds <= baseline.fds && now.maps <= baseline.maps
      }).catch(() => {
        assert.deepEqual(holdings(), baseline, `OVFSD_SEED=${seed}`)
      })
      assert.ok(
        !theDaemon().stderr.includes('a defect of ours'),
        `OVFSD_SEED=${seed}: ${theDaemon().stderr.slice(-3000)}`,
      )
    }

    it('survives random rings', async (t) => {
      const random = start(t)
      const cases = caseCount(RING_CASES)
      for (let done = 0; done < cases;) {
        const client = await theDaemon().mount({
          memoryBytes: MEMORY_BYTES,
          queueSize: QUEUE_SIZE,
          queues: 3,
        })
        try {
          for (let i = 0; i < CHECK_EVERY && done < cases; i++, done++) {
            const queue = random.below(3)
            const ring = new RawVring(client.front, queue)
            scribble(client.front, ring, random)
            // Draining answers for everything that was taken in; after it the ring starts anew.
            await ring.release()
          }
          await client.init()
          await useWell(client, done)
        } finally {
          client.close()
        }
      }
      await checkNothingIsLeft()
    })

    it('survives random messages and bytes on the socket', async (t) => {
      const random = start(t)
      const cases = caseCount(SOCKET_CASES)
      for (let done = 0; done < cases; done++) {
        const front = await theDaemon().connect({ memoryBytes: MEMORY_BYTES })
        try {
          if (random.oneIn(3)) await front.negotiateFeatures()
          const messages = 1 + random.below(6)
          for (let i = 0; i < messages; i++) sendSomething(front, random)
        } catch (error) {
          // The daemon may hang up at any time: then sending fails.
          assert.match(String(error), /Broken pipe|Connection reset|closed/i, `OVFSD_SEED=${seed}`)
        } finally {
          front.close()
        }
        if (done % CHECK_EVERY === CHECK_EVERY - 1) await serveWell(done)
      }
      await checkNothingIsLeft()
    })

    it('survives guests that vanish, and memory that is taken away, at any moment', async (t) => {
      const random = start(t)
      for (let done = 0; done < caseCount(VANISH_CASES); done++) {
        const client = await theDaemon().mount({ memoryBytes: MEMORY_BYTES })
        const fs = new GuestFs(client, { base: OVFSD_MOUNT_POINT })
        const file = await fs.open(`vanishing${done % 5}`, 0o102)
        const requests = Array.from({ length: 20 }, (_, i) => [
          client.write(file.nodeid, file.fh, i * 10_000, Buffer.alloc(10_000, i)),
          client.read(file.nodeid, file.fh, i * 10_000, 10_000),
          client.lookup(1, `missing${i}`),
        ]).flat()
        const outcome = Promise.allSettled(requests)
        for (let turn = random.below(10); turn > 0; turn--)
          await new Promise((resolve) => setImmediate(resolve))
        if (random.oneIn(2)) client.front.truncateMemory(random.below(3) * PAGE_BYTES)
        client.close()
        await outcome
      }
      await checkNothingIsLeft()
      const client = await theDaemon().mount({ memoryBytes: MEMORY_BYTES })
      const fs = new GuestFs(client, { base: OVFSD_MOUNT_POINT })
      for (const name of await fs.list()) await fs.unlink(name)
      client.close()
    })

    it('serves a second front-end as soon as the first has gone, whatever that one left unsaid', async (t) => {
      const random = start(t)
      for (let round = 0; round < 10; round++) {
        const silent = await theDaemon().connect({ memoryBytes: MEMORY_BYTES })
        if (random.oneIn(2)) silent.sendBytes(random.bytes(1 + random.below(11)))
        silent.close()
        await serveWell(round)
      }
      await checkNothingIsLeft()
    })
  },
)

/** Garbage, and things that look almost right, into the descriptor table, the avail ring and the buffers. */
function scribble(front: FrontEnd, ring: RawVring, random: Random): void {
  const { buffersOffset } = front.memoryLayout()
  const size = ring.layout.size
  const address = (): bigint => {
    switch (random.below(6)) {
      case 0:
        return (BigInt(random.below(2 ** 32)) << 32n) | BigInt(random.below(2 ** 32))
      case 1:
        return (1n << 64n) - BigInt(1 + random.below(5000))
      case 2:
        return front.gpa(MEMORY_BYTES - 1 - random.below(5000))
      default:
        return front.gpa(buffersOffset + random.below(64) * PAGE_BYTES + random.below(100))
    }
  }
  const length = (): number =>
    random.pick([
      0,
      1,
      15,
      16,
      39,
      40,
      41,
      56,
      640,
      4096,
      70_000,
      0x7fff_ffff,
      0xffff_ffff,
      random.below(2 ** 32),
    ])
  const descriptor = (limit: number): Descriptor => ({
    addr: address(),
    len: length(),
    flags: random.oneIn(10)
      ? random.below(2 ** 16)
      : random.pick([0, DESC_F_NEXT, DESC_F_WRITE, DESC_F_NEXT | DESC_F_WRITE, DESC_F_INDIRECT]),
    next: random.oneIn(10) ? random.below(2 ** 16) : random.below(limit),
  })
  // Requests that are well-formed but for the random rest, so that some get past the framing.
  for (let page = 0; page < 8; page++) {
    front.writeMemory(buffersOffset + page * PAGE_BYTES, request(random))
  }
  const table = buffersOffset + 32 * PAGE_BYTES
  ring.writeTable(
    table,
    Array.from({ length: 16 }, () => descriptor(16)),
  )
  const count = 1 + random.below(size)
  for (let i = 0; i < count; i++) ring.writeDescriptor(random.below(size), descriptor(size))
  if (random.oneIn(2)) {
    ring.writeDescriptor(0, { addr: front.gpa(table), len: 16 * random.below(20), flags: DESC_F_INDIRECT })
    ring.writeDescriptor(1, {
      addr: front.gpa(buffersOffset),
      len: 40 + random.below(100),
      flags: DESC_F_NEXT,
      next: 2,
    })
    ring.writeDescriptor(2, {
      addr: front.gpa(buffersOffset + 40 * PAGE_BYTES),
      len: 16 + random.below(5000),
      flags: DESC_F_WRITE,
    })
  }
  const pushes = random.below(size)
  for (let i = 0; i < pushes; i++) {
    ring.writeAvailEntry(
      i,
      random.oneIn(10) ? random.below(2 ** 16) : random.below(random.oneIn(2) ? 3 : size),
    )
  }
  ring.availFlags = random.below(4)
  ring.usedEvent = random.below(2 ** 16)
  ring.availIdx = random.oneIn(5) ? random.below(2 ** 16) : pushes
  ring.kick()
}

/** A request of a random opcode that changes no large file; mostly of arguments that are all zeros or random. */
function request(random: Random): Uint8Array {
  const opcodes = Object.values(Opcode).filter(
    (opcode) => opcode !== Opcode.SETATTR && opcode !== Opcode.FALLOCATE && opcode !== Opcode.WRITE,
  )
  const args = random.oneIn(2) ? random.bytes(64) : Buffer.alloc(64)
  return new Writer()
    .u32(random.oneIn(4) ? random.below(2 ** 32) : StructBytes.in_header + args.length)
    .u32(random.oneIn(10) ? random.below(2 ** 32) : random.pick(opcodes))
    .u64(random.below(1000))
    .u64(random.below(4))
    .u32(0)
    .u32(0)
    .u32(0)
    .u32(0)
    .bytes(args)
    .done()
}

/** One message or some bytes, with fds that fit or do not. */
function sendSomething(front: FrontEnd, random: Random): void {
  const { fd } = front.memoryLayout()
  const { kickFd, callFd } = front.vringLayout(0)
  const fds = Array.from({ length: random.pick([0, 0, 0, 1, 1, 2, 8]) }, () =>
    random.pick([fd, kickFd, callFd]),
  )
  if (random.oneIn(4)) {
    front.sendBytes(random.bytes(1 + random.below(300)), fds)
    return
  }
  const payload = randomPayload(front, random)
  const flags = random.oneIn(8) ? random.below(2 ** 32) : random.pick([0x1, 0x9])
  const number = random.oneIn(10) ? random.below(2 ** 32) : 1 + random.below(LAST_VHOST_USER_REQUEST)
  if (random.oneIn(6)) {
    // A length that lies.
    const header = Buffer.alloc(12)
    header.writeUInt32LE(number, 0)
    header.writeUInt32LE(flags, 4)
    header.writeUInt32LE(random.pick([0, 1, payload.length + 1, 4096, 0xffff_ffff, 0x7fff_ffff]), 8)
    front.sendBytes(Buffer.concat([header, payload]), fds)
    return
  }
  front.sendMessage(number, payload, fds, flags)
}

function randomPayload(front: FrontEnd, random: Random): Uint8Array {
  const { regions } = front.memoryLayout()
  const [region] = regions
  if (random.oneIn(3) || region === undefined) return random.bytes(random.below(200))
  const number = (): bigint =>
    random.pick([
      0n,
      1n,
      3n,
      64n,
      region.gpa,
      region.userAddr,
      BigInt(region.sizeBytes),
      (1n << 63n) - 1n,
      (1n << 64n) - 1n,
    ])
  const w = new Writer()
  const words = random.pick([1, 2, 4, 5, 8, 9])
  for (let i = 0; i < words; i++) w.u64(number())
  return w.done()
}
