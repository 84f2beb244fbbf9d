/** One daemon that serves S3, Swift, HDFS and a host directory to one guest at once, while each server is stopped in its turn. */
import assert from 'node:assert/strict'
import { mkdtempSync, rmSync } from 'node:fs'
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises'
import os from 'node:os'
import path from 'node:path'
import { after, before, describe, it } from 'node:test'
import { hdfsProblem } from '../servers/hdfs.js'
import { randomBytes } from '../support/bytes.js'
import { coreutilsCases } from './cases/coreutils.js'
import { checksumOf, dataCases } from './cases/data.js'
import { nameCases } from './cases/names.js'
import { comesBack, stopsInTheMiddle } from './cases/outage.js'
import { outsideCases } from './cases/outside.js'
import { programCases } from './cases/programs.js'
import { scaleCases } from './cases/scale.js'
import type { Profile } from './daemon.js'
import {
  plainMountPoint,
  proxiedMountPoint,
  startHdfsStorage,
  startS3,
  startSwiftStorage,
  type HdfsStorage,
  type RunningStorage,
} from './storage.js'
import { GuestSuite, mountRoot, SERVER_SIZES, type MountUnderTest } from './suite.js'

const TAG = 'ovfsd'
const ROOT = mountRoot(TAG)
/** A quarter of the large file, so that every store has to be read and written while the cache is full. */
const CACHE_SIZE = '16MiB'
/** So much work may take a busy machine long, but never for ever. */
const DEADLINE_MS = 180_000

interface Storage {
  readonly name: string
  /** The profile's type. */
  readonly type: string
  readonly mount: Pick<MountUnderTest, 'keepsColons' | 'keepsTrailingSpace' | 'sizes'>
  /** Shell commands that must be refused as SEMANTICS.md says. */
  readonly refusals: string
  start(): Promise<RunningStorage>
}

const S3: Storage = {
  ...{ name: 'S3', type: 's3', start: startS3 },
  mount: { keepsColons: true, keepsTrailingSpace: true, sizes: SERVER_SIZES },
  refusals: `
    refuses EINVAL rename-exchange file other
    same "$(stat -f -c '%b %S' .)" '1073741824 1048576'`,
}
const SWIFT: Storage = {
  ...{ name: 'Swift', type: 'swift', start: startSwiftStorage },
  mount: {
    ...{ keepsColons: true, keepsTrailingSpace: true },
    // Several of its processes work on each request, and each of its pages of a listing holds 10,000 entries.
    sizes: { ...SERVER_SIZES, entries: 120, git: 'not' },
  },
  refusals: `
    refuses EINVAL rename-exchange file other
    long=$(printf 'n%.0s' $(seq 1 250)); mkdir -p $long/$long/$long
    refuses ENAMETOOLONG mkdir $long/$long/$long/$long; refuses ENAMETOOLONG create $long/$long/$long/$long
    rm -r $long
    same "$(stat -f -c '%b %S' .)" '1073741824 1048576'`,
}
const HDFS: Storage = {
  ...{ name: 'HDFS', type: 'hdfs', start: startHdfsStorage },
  mount: {
    ...{ keepsColons: false, keepsTrailingSpace: true },
    // Pages of its listings are what the operations' own tests are about, and git asks of it what it asks of S3.
    sizes: { ...SERVER_SIZES, entries: 120, git: 'not' },
  },
  refusals: `
    refuses EINVAL rename-exchange file other; refuses EINVAL create a:b; refuses EINVAL mkdir .snapshot
    if touch -d '1969-01-01 UTC' file 2> /tmp/why; then exit 1; fi; grep -q 'Invalid argument' /tmp/why
    touch -d '2001-02-03 04:05:06.789 UTC' file; same "$(TZ=UTC stat -c %.3Y file)" 981173106.789
    [ "$(stat -f -c %b .)" -lt 1073741824 ]`,
}

const problem = hdfsProblem()
const STORAGES = problem === null ? [S3, SWIFT, HDFS] : [S3, SWIFT]

type Cases = (suite: GuestSuite, mount: MountUnderTest) => void
/**
 * All cases run on all storages, each once: the data cases while all servers are there, the others while one is stopped.
 */
const CASES_WITHOUT: readonly (readonly [Storage, readonly (readonly [Storage, readonly Cases[]])[]])[] = [
  [
    S3,
    [
      [SWIFT, [coreutilsCases, nameCases]],
      [HDFS, [coreutilsCases, nameCases]],
    ],
  ],
  [
    SWIFT,
    [
      [S3, [coreutilsCases, nameCases]],
      [HDFS, [programCases, scaleCases]],
    ],
  ],
  [
    HDFS,
    [
      [S3, [programCases, scaleCases]],
      [SWIFT, [programCases, scaleCases]],
    ],
  ],
]

const running = new Map<Storage, RunningStorage>()
const hostFolder = mkdtempSync(path.join(os.tmpdir(), 'ovfsd-guest-test-'))

function runningOf(storage: Storage): RunningStorage {
  const found = running.get(storage)
  assert(found !== undefined, `${storage.name} was not started`)
  return found
}

const plainDirectory = ({ type }: Storage): string => `${ROOT}/${plainMountPoint(type)}`
const proxiedDirectory = ({ type }: Storage): string => `${ROOT}/${proxiedMountPoint(type)}`

function mountOf(storage: Storage): MountUnderTest {
  const { name, type, mount } = storage
  return {
    ...{ name, tag: TAG, profile: type, mountPoint: plainMountPoint(type), onHost: false, ...mount },
    outside: () => runningOf(storage).plain.outside,
  }
}

function profiles(): Record<string, Profile> {
  const found: Record<string, Profile> = {
    local: { type: 'fs', mount_point: 'local_fs', root: hostFolder },
  }
  for (const [{ type }, { plain, proxied }] of running) {
    found[type] = plain.profile
    found[`${type}_proxied`] = proxied.profile
  }
  return found
}

describe('a Linux guest with S3, Swift and HDFS', () => {
  before(async () => {
    await Promise.all(
      STORAGES.map(async (storage) => {
        running.set(storage, await storage.start())
      }),
    )
  })
  const suite = new GuestSuite(() => ({
    [TAG]: { profiles: profiles(), settings: { cache_size: CACHE_SIZE } },
  }))
  after(async () => {
    await Promise.all([...running.values()].map((storage) => storage.stop()))
    rmSync(hostFolder, { recursive: true, force: true })
  })

  const casesOn = (storage: Storage, kinds: readonly Cases[]): void => {
    if (!STORAGES.includes(storage)) return
    describe(`on ${storage.name}`, () => {
      for (const cases of kinds) cases(suite, mountOf(storage))
    })
  }

  if (problem !== null) it('HDFS', { skip: `NO HDFS TESTS: ${problem}` })

  describe('all at once', () => {
    it('each does all of its work beside the others', async () => {
      await suite.sh(
        `cd ${ROOT}; head -c 12000000 /dev/urandom > /tmp/random
        work() { mkdir $1/beside; cd $1/beside
          cp -r /usr/share/git-core tree; diff -r /usr/share/git-core tree; mv tree moved; tar -cf archive.tar moved
          cp /tmp/random file; cmp /tmp/random file; rm -r moved; tar -xf archive.tar; diff -r /usr/share/git-core moved
          cd ..; rm -r beside; }
        pids=()
        for m in *_fs; do ( work $m ) & pids+=($!); done
        failed=0; for pid in "\${pids[@]}"; do wait $pid || failed=1; done
        same $failed 0; rm /tmp/random`,
        DEADLINE_MS,
      )
    })

    it('trees go from each to the next', async () => {
      const directories = [...STORAGES.map(plainDirectory), `${ROOT}/local_fs`]
      await suite.sh(
        `cp -r /usr/share/git-core /tmp/tree; head -c 9000000 /dev/urandom > /tmp/tree/parts
        cp -r /tmp/tree ${directories[0] ?? ''}/travelling; from=${directories[0] ?? ''}
        for to in ${directories.slice(1).join(' ')}; do
          refuses EXDEV rename $from/travelling $to/travelling
          mv $from/travelling $to/; [ ! -e $from/travelling ]; from=$to
        done
        diff -r /tmp/tree $from/travelling; rm -r $from/travelling /tmp/tree`,
        DEADLINE_MS,
      )
    })

    it('servers that never answer cost their callers the deadline, and others nothing', async () => {
      for (const storage of STORAGES) await runningOf(storage).proxied.outside.write('unread', 'after all')
      const proxies = [...running.values()].flatMap((storage) => storage.proxies)
      for (const proxy of proxies) proxy.setFault({ kind: 'stall' })
      await suite.sh(
        `mkdir /tmp/stalled
        for m in ${STORAGES.map(proxiedDirectory).join(' ')}; do
          ( fails 'ETIMEDOUT|EIO' read-file $m/unread; echo $? ) < /dev/null > /tmp/stalled/\${m##*/} 2>&1 &
        done
        # The error is of the opening.
        for m in ${STORAGES.map(plainDirectory).join(' ')} ${ROOT}/local_fs; do
          echo content > $m/beside; same "$(< $m/beside)" content; rm $m/beside
        done`,
        DEADLINE_MS,
      )
      await suite.sh(
        `for m in ${STORAGES.map(proxiedDirectory).join(' ')}; do until grep -q . /tmp/stalled/\${m##*/}; do sleep 0.1; done; done
        cat /tmp/stalled/*; rm -r /tmp/stalled`,
        DEADLINE_MS,
      )
      for (const proxy of proxies) await proxy.heal()
      await suite.sh(
        `for m in ${STORAGES.map(proxiedDirectory).join(' ')}; do
          until [ "$(cat $m/unread 2> /dev/null)" = 'after all' ]; do sleep 0.2; done; rm $m/unread
        done`,
        DEADLINE_MS,
      )
    })

    for (const storage of STORAGES) {
      describe(`on ${storage.name}, beside another client`, () => {
        const outside = () => runningOf(storage).proxied.outside
        outsideCases(suite, { directory: proxiedDirectory(storage), outside })
        if (storage === HDFS) fsShellCase(suite)
        suite.inFolder(
          mountOf(storage),
          'what it refuses, as documented',
          `echo a > file; echo b > other; ${storage.refusals}`,
        )
      })
    }

    // With a server away `sync` of the whole file system is an error, whatever file it is asked of.
    for (const storage of STORAGES) casesOn(storage, [dataCases])
  })

  for (const [stopped, cases] of CASES_WITHOUT) {
    describe(`while ${stopped.name} is stopped`, () => {
      const subject = {
        ...{ proxied: proxiedDirectory(stopped), plain: plainDirectory(stopped), local: `${ROOT}/local_fs` },
        storage: () => runningOf(stopped),
      }
      if (STORAGES.includes(stopped)) stopsInTheMiddle(suite, subject)
      for (const [storage, kinds] of cases) casesOn(storage, kinds)
      if (STORAGES.includes(stopped)) comesBack(suite, subject)
    })
  }

  it('powers off; the daemon ends when asked to, and its code tells whether data was lost', async () => {
    await suite.unmountAll()
    await suite.guest.shutdown()
    // 3 where the stream to HDFS that its server cut off had bytes that were in no memory any more: close has said so, too.
    assert.match(await suite.daemon(TAG).stop(), /exited with code [03]$/)
  })
})

/** HDFS's own client, which speaks to the NameNode and the DataNode in their own protocols. */
function fsShellCase(suite: GuestSuite): void {
  it("HDFS's own shell reads what the guest wrote, and the guest what it put and removed", async () => {
    const { server, proxiedRoot } = runningOf(HDFS) as HdfsStorage
    const here = await mkdtemp(path.join(os.tmpdir(), 'ovfsd-hdfs-shell-'))
    try {
      const directory = proxiedDirectory(HDFS)
      const sum = await suite.sh(
        `mkdir ${directory}/shell; cd ${directory}/shell; head -c 9000001 /dev/urandom > written; echo more >> written
        echo old > removed; ls > /dev/null; cksum < written`,
      )
      await writeFile(path.join(here, 'put'), randomBytes(3_000_001, 5))
      const shell = async (...args: readonly string[]): Promise<void> => {
        const { code, output } = await server.fsShell(...args)
        assert.equal(code, 0, output)
      }
      await shell('-get', `${proxiedRoot}/shell/written`, path.join(here, 'got'))
      assert.equal(await checksumOf(await readFile(path.join(here, 'got'))), sum.trim())
      await shell('-put', path.join(here, 'put'), `${proxiedRoot}/shell/put`)
      await shell('-rm', '-skipTrash', `${proxiedRoot}/shell/removed`)
      const put = await suite.sh(
        `cd ${directory}/shell; until [ -e put ] && [ ! -e removed ]; do sleep 0.1; done; cksum < put; rm -r ${directory}/shell`,
      )
      assert.equal(put.trim(), await checksumOf(await readFile(path.join(here, 'put'))))
    } finally {
      await rm(here, { recursive: true, force: true })
    }
  })
}
