import assert from 'node:assert/strict'
import { it } from 'node:test'
import { forEachConcurrently } from '../../../src/backends/concurrency.js'
import { pathsBelow } from '../../support/views.js'
import { waitUntil } from '../../servers/wait.js'
import type { RunningStorage } from '../storage.js'
import type { GuestSuite } from '../suite.js'
import { checksumOf } from './data.js'

/** Files of the tree that is being moved, and entries of the directory that is being listed, when the server dies. */
const TREE_FILES = 60
/** More than three parts of an upload; and so much of it has passed when the server dies. */
const UPLOAD_BYTES = 26_000_000
const UPLOADED_BYTES = 9_000_000
/** Objects of the tree that have been moved by then. */
const MOVED_FILES = 3
/** Slows the rest down, so that it is still going on. */
const DELAY_MS = 100
/** What is waited for may take a busy machine long, but never for ever. */
const DEADLINE_MS = 120_000
const HOST_CONCURRENCY = 8
/** How a call may end whose server is away: refused or cut off, or out of time. */
const AWAY = 'EIO|ETIMEDOUT'
const AWAY_WORDS = 'Input/output error|Connection timed out'
const KEPT_BYTES = 1_000_001

export interface OutageSubject {
  /** Absolute, in the guest: the mount through the proxies and the one without. */
  readonly proxied: string
  readonly plain: string
  /** Another mount of the same daemon, which needs no server. */
  readonly local: string
  readonly storage: () => RunningStorage
}

/** A server is killed in the middle of the guest's work on it. `comesBack` must follow. */
export function stopsInTheMiddle(suite: GuestSuite, { proxied, plain, local, storage }: OutageSubject): void {
  it('the server is killed during an upload, a rename of a tree and listings: each ends, with a clear error if any', async () => {
    const { outside } = storage().proxied
    for (const directory of ['tree', 'listed', 'unread']) await outside.mkdir(directory)
    const names = Array.from({ length: TREE_FILES }, (_, i) => `file${i}`)
    await forEachConcurrently(names, HOST_CONCURRENCY, async (name) => {
      await outside.write(`tree/${name}`, `data of ${name}`)
      await outside.write(`listed/${name}`, '')
    })
    await outside.write('unread/file', 'nobody has read this')
    await suite.sh(
      `rm -rf /tmp/outage; mkdir /tmp/outage; cd /tmp/outage
      head -c ${UPLOAD_BYTES} /dev/urandom > big; mkfifo go
      head -c ${KEPT_BYTES} big > ${proxied}/kept; cp ${proxied}/kept ${plain}/kept-by-outage
      # A file that is open for the whole time, and written to while the server is away. Each program that ends closes it, too.
      ( exec 7>> ${proxied}/held; echo 'acknowledged' >&7; sync /proc/self/fd/7; touch holds
        read -r _ < go
        echo 'unsaved' >&7
        if sync /proc/self/fd/7; then echo 'fsync of an absent server succeeded'; else touch refused; fi
        read -r _ < go
        until sync /proc/self/fd/7; do sleep 0.2; done
        exec 7>&-; touch saved ) < /dev/null > holder 2>&1 &
      until [ -e holds ]; do sleep 0.1; done`,
      DEADLINE_MS,
    )
    await killInTheMiddle(suite, proxied, storage())
    await suite.sh(
      `cd /tmp/outage; until [ -e cp.ended ] && [ -e mv.ended ]; do sleep 0.1; done
      echo > go; until [ -e refused ]; do sleep 0.1; done
      touch ls.stop; until [ -e ls.ended ]; do sleep 0.1; done
      for program in cp mv ls; do
        if grep -vE '${AWAY_WORDS}' $program.errors; then echo "that is what $program said"; exit 1; fi
      done
      # A listing is whole or an error.
      if grep -v '^${TREE_FILES}$' ls.counts; then echo 'a listing was not whole'; exit 1; fi`,
      DEADLINE_MS,
    )
  })

  it('while the server is away every call on it ends with a clear error', async () => {
    await suite.sh(
      `says() { grep -qE "$1" /tmp/why || { echo "it said: $(< /tmp/why)"; exit 1; }; }
      for m in ${proxied} ${plain}; do
        fails '${AWAY}' create $m/new; fails '${AWAY}' mkdir $m/new; fails '${AWAY}' exclusive $m/new
        fails '${AWAY}' rename $m/no $m/where; fails '${AWAY}' unlink $m/nothing
        if ls $m/not-there 2> /tmp/why; then echo 'a missing name was listed'; exit 1; fi; says '${AWAY_WORDS}'
      done
      if fscalls read-file ${proxied}/unread/file > /tmp/got 2> /tmp/why; then echo "read without a server: $(< /tmp/got)"; exit 1; fi
      says '${AWAY}'
      # What the store has not taken concerns a sync of everything, and no fsync of another mount's file.
      echo content > ${local}/file; sync ${local}/file
      if sync -f ${local}/file 2> /tmp/why; then echo 'a sync of what no store has succeeded'; exit 1; fi
      says '${AWAY_WORDS}'; rm ${local}/file`,
      DEADLINE_MS,
    )
  })
}

/** Start an upload, a rename of a tree and listings, and kill the server when all of them are under way. */
async function killInTheMiddle(suite: GuestSuite, proxied: string, storage: RunningStorage): Promise<void> {
  const { proxies, moves, server } = storage
  for (const proxy of proxies) proxy.resetCounters()
  await suite.sh(`cd /tmp/outage
    ( cp big ${proxied}/big 2> cp.errors && touch cp.done; touch cp.ended ) < /dev/null > /dev/null 2>&1 &`)
  const uploaded = (): number => proxies.reduce((sum, { counters }) => sum + counters.bytesToServer, 0)
  await waitUntil('a part of the upload', DEADLINE_MS, () => uploaded() >= UPLOADED_BYTES)
  for (const proxy of proxies) proxy.setFault({ kind: 'delay', delayMs: DELAY_MS })
  await suite.sh(`cd /tmp/outage
    ( mv -T ${proxied}/tree ${proxied}/moved 2> mv.errors && touch mv.done; touch mv.ended ) < /dev/null > /dev/null 2>&1 &
    ( while [ ! -e ls.stop ]; do
        if ls ${proxied}/listed > ls.names 2>> ls.errors; then wc -l < ls.names; else sleep 0.1; fi
      done > ls.counts; touch ls.ended ) < /dev/null > /dev/null 2>&1 &`)
  // Where a tree moves in one step, that is all there is to wait for.
  const wanted = moves.target.source.includes('RENAME') ? 1 : MOVED_FILES
  const moved = (): number =>
    proxies.reduce((sum, proxy) => sum + proxy.countRequests(moves.method, moves.target), 0)
  await waitUntil('a part of the rename', DEADLINE_MS, () => moved() >= wanted)
  await server.kill()
  for (const proxy of proxies) proxy.setFault(null)
}

/** The server is started again: the mount works by itself, and what was acknowledged is there. */
export function comesBack(suite: GuestSuite, { proxied, plain, storage }: OutageSubject): void {
  it('when it is back the mount works by itself, and nothing acknowledged is lost', async () => {
    const { outside } = storage().proxied
    await storage().server.restart()
    const [kept = '', big = ''] = (
      await suite.sh(
        `until ls ${proxied} > /dev/null 2>&1 && ls ${plain} > /dev/null 2>&1; do sleep 0.2; done
        cd /tmp/outage; echo > go; until [ -e saved ]; do sleep 0.2; done
        echo 3 > /proc/sys/vm/drop_caches
        cmp ${proxied}/kept ${plain}/kept-by-outage; rm ${plain}/kept-by-outage
        head -c ${KEPT_BYTES} big | cmp - ${proxied}/kept
        same "$(fscalls read-file ${proxied}/unread/file)" 'nobody has read this'
        same "$(tr '\\n' ' ' < ${proxied}/held)" 'acknowledged unsaved '
        # What close reported as failed is written once more; what it acknowledged must be there already.
        [ -e cp.done ] || cp big ${proxied}/big
        cmp big ${proxied}/big
        cksum < ${proxied}/kept; cksum < big`,
        DEADLINE_MS,
      )
    )
      .trim()
      .split('\n')
    assert.equal(await checksumOf(await outside.read('kept')), kept)
    assert.equal(await checksumOf(await outside.read('big')), big)
    assert.equal((await outside.read('held'))?.toString(), 'acknowledged\nunsaved\n')
  })

  it('the rename of the tree is completed when it is repeated, and no file of it is lost', async () => {
    const { outside } = storage().proxied
    const names = Array.from({ length: TREE_FILES }, (_, i) => `file${i}`).sort()
    const parts = [...(await pathsBelow(outside, 'tree')), ...(await pathsBelow(outside, 'moved'))]
    assert.deepEqual([...new Set(parts)].sort(), names)
    await suite.sh(
      `cd ${proxied}
      # Done in one step whose answer was lost: then there is nothing left to move.
      if [ ! -e /tmp/outage/mv.done ]; then mv -T tree moved 2> /tmp/why || grep -q 'No such file' /tmp/why; fi
      [ ! -e tree ]; same "$(ls moved | wc -l)" ${TREE_FILES}
      for file in moved/*; do same "$(< $file)" "data of \${file#moved/}"; done`,
      DEADLINE_MS,
    )
    assert.deepEqual(await pathsBelow(outside, 'moved'), names)
    assert.deepEqual(await pathsBelow(outside, 'tree'), [])
  })

  it('no orphans are left, nor anything that the guest did not make', async () => {
    await suite.sh(
      `cd ${proxied}; echo again > new; same "$(< new)" again; same "$(ls | tr '\\n' ' ')" 'big held kept listed moved new unread '
      rm -r big held kept listed moved new unread; same "$(ls -A)" ""; rm -r /tmp/outage`,
      DEADLINE_MS,
    )
    // What could not be removed while the server was away goes soon after.
    let left: string[] = []
    await waitUntil('the end of the orphans', DEADLINE_MS, async () => {
      left = await storage().orphans()
      return left.length === 0
    }).catch((error: unknown) => {
      throw new Error(`left behind: ${left.join(', ')}`, { cause: error })
    })
  })
}
