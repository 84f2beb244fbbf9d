import assert from 'node:assert/strict'
import { existsSync, mkdtempSync, readdirSync, rmSync, statfsSync } from 'node:fs'
import { appendFile, mkdir, rename, symlink, writeFile } from 'node:fs/promises'
import os from 'node:os'
import path from 'node:path'
import { after, before, describe, it } from 'node:test'
import { randomBytes } from '../support/bytes.js'
import { coreutilsCases } from './cases/coreutils.js'
import { dataCases } from './cases/data.js'
import { nameCases } from './cases/names.js'
import { programCases } from './cases/programs.js'
import { scaleCases } from './cases/scale.js'
import { tracingCase } from './cases/tracing.js'
import { isReferenceDaemon } from './daemon.js'
import {
  GuestSuite,
  LOCAL_SIZES,
  MEMORY_SIZES,
  mountRoot,
  SERVER_SIZES,
  type MountUnderTest,
} from './suite.js'

const TAG = 'ovfsd'
/** A second daemon, whose settings let the guest's kernel keep more. */
const KEEPING_TAG = 'keeping'
/** Where the fs mounts' files lie: on a tmpfs with room for them if there is one, for every close waits for the disk. */
const ROOM_BYTES = 6 * 2 ** 30
const TMPFS = '/dev/shm'
const hasRoom = (folder: string): boolean => {
  if (!existsSync(folder)) return false
  const { bavail, bsize } = statfsSync(folder)
  return bavail * bsize >= ROOM_BYTES && os.freemem() >= ROOM_BYTES
}
const hostFolder = mkdtempSync(path.join(hasRoom(TMPFS) ? TMPFS : os.tmpdir(), 'ovfsd-guest-test-'))
const folderOf = (name: string): string => path.join(hostFolder, name)

const COMMON = { tag: TAG, outside: null, keepsColons: true, keepsTrailingSpace: false }
/** The mounts that every case runs on. A new kind of storage joins by a row here and its profile below. */
const MOUNTS: readonly MountUnderTest[] = [
  {
    ...COMMON,
    name: 'fs',
    profile: 'local',
    mountPoint: 'local_fs',
    onHost: true,
    keepsTrailingSpace: true,
    sizes: LOCAL_SIZES,
  },
  {
    ...{ ...COMMON, name: 'memory', profile: 'mem', mountPoint: 'mem_fs', onHost: isReferenceDaemon },
    sizes: MEMORY_SIZES,
  },
]

/** What was looked at within a second is not looked at again. The guest's kernel believes what it was told for a minute. */
const PAST_A_LOOK = 'sleep 1.1'
const REPLACED_BYTES = 2000

const MEMORY = `${mountRoot(TAG)}/mem_fs`
const LOCAL = `${mountRoot(TAG)}/local_fs`

describe('a Linux guest', () => {
  before(async () => {
    for (const name of ['local', 'programs', 'frozen/sub', 'shared', 'kept', 'direct'])
      await mkdir(folderOf(name), { recursive: true })
    await writeFile(folderOf('frozen/sub/file'), 'cannot change\n')
  })
  const suite = new GuestSuite(() => ({
    [TAG]: {
      profiles: {
        local: { type: 'fs', mount_point: 'local_fs', root: folderOf('local') },
        mem: { type: 'memory', mount_point: 'mem_fs' },
        programs: {
          type: 'fs',
          mount_point: 'programs',
          root: folderOf('programs'),
          file_mode: '0755',
          uid: 1000,
          gid: 1001,
        },
        frozen: { type: 'fs', mount_point: 'frozen', root: folderOf('frozen'), read_only: true },
        shared: { type: 'fs', mount_point: 'shared', root: folderOf('shared') },
      },
    },
    [KEEPING_TAG]: {
      profiles: {
        kept: { type: 'fs', mount_point: 'kept', root: folderOf('kept'), guest_cache: 'always' },
        direct: { type: 'fs', mount_point: 'direct', root: folderOf('direct'), guest_cache: 'none' },
      },
      settings: { guest_writeback: true },
    },
  }))
  after(() => {
    rmSync(hostFolder, { recursive: true, force: true })
  })

  it('lists the mount points in the root, and lets no one change them', async () => {
    await suite.sh(`cd ${mountRoot(TAG)}; same "$(ls | tr '\\n' ' ')" 'frozen local_fs mem_fs programs shared '
      for d in *; do same "$(stat -c %F $d)" directory; done`)
    if (isReferenceDaemon) return
    await suite.sh(`cd ${mountRoot(TAG)}
      refuses EROFS create file; refuses EROFS mkdir dir
      refuses EROFS rmdir mem_fs; refuses EROFS rename mem_fs other
      same "$(ls | tr '\\n' ' ')" 'frozen local_fs mem_fs programs shared '`)
  })

  for (const mount of MOUNTS) {
    describe(`on ${mount.name}`, () => {
      coreutilsCases(suite, mount)
      dataCases(suite, mount)
      nameCases(suite, mount)
      // What programs see is not the storage's doing: once is enough.
      if (mount.profile === 'local') {
        programCases(suite, mount)
        scaleCases(suite, mount)
      }
      suite.inFolder(
        mount,
        'df and stat -f',
        `
        df . | tail -n 1
        [ "$(stat -f -c %S .)" -ge 512 ]
        same "$(stat -f -c %l .)" 255
        [ "$(df --output=avail . | tail -n 1)" -gt 0 ]`,
      )
    })
  }

  describe('that keeps all it can, and collects its writes', { skip: isReferenceDaemon }, () => {
    dataCases(suite, {
      ...{ ...COMMON, tag: KEEPING_TAG, name: 'kept', profile: 'kept', mountPoint: 'kept', onHost: true },
      sizes: SERVER_SIZES,
    })
  })

  it('may keep nothing: every call comes to the daemon', { skip: isReferenceDaemon }, async () => {
    await suite.sh(`cd ${mountRoot(KEEPING_TAG)}/direct
      echo first > file; same "$(cat file)" first; same "$(ls)" file; [ ! -e other ]`)
    await writeFile(path.join(folderOf('direct'), 'other'), 'made by the host')
    await suite.sh(`cd ${mountRoot(KEEPING_TAG)}/direct
      for i in 1 2 3; do echo "line $i" >> file; done; same "$(wc -l < file)" 4; mv file moved; same "$(tail -n 1 moved)" 'line 3'; rm moved`)
  })

  it(
    'reads all that others have made of a file at the first open, whatever its kernel believes',
    { skip: isReferenceDaemon },
    async (t) => {
      t.diagnostic(`the guest's kernel is ${(await suite.sh('uname -r')).trim()}`)
      const shared = `${mountRoot(TAG)}/shared`
      const host = (name: string): string => path.join(folderOf('shared'), name)
      const contents = randomBytes(REPLACED_BYTES, 1).toString('hex')
      await writeFile(host('grown'), contents.slice(0, REPLACED_BYTES / 2))
      await writeFile(host('shrunk'), contents)
      await writeFile(host('log'), 'first line\n')
      await suite.sh(`cd ${shared}; same "$(stat -c %s grown)" ${REPLACED_BYTES / 2}
        same "$(stat -c %s shrunk)" ${contents.length}; same "$(stat -c %s log)" 11`)
      // Replaced as editors do it, cut in place, and appended to.
      await writeFile(host('.new'), contents.slice(REPLACED_BYTES))
      await rename(host('.new'), host('grown'))
      await writeFile(host('shrunk'), contents.slice(0, 10))
      await appendFile(host('log'), 'second line\n')
      const printed = await suite.sh(`cd ${shared}; ${PAST_A_LOOK}
        same "$(cat grown)" ${contents.slice(REPLACED_BYTES)}; same "$(stat -c %s grown)" ${REPLACED_BYTES}
        same "$(cat shrunk)" ${contents.slice(0, 10)}
        cat log`)
      assert.equal(printed, 'first line\nsecond line\n')
    },
  )

  describe('across mounts', () => {
    it('rename is refused with EXDEV, mv copies and removes', { skip: isReferenceDaemon }, async () => {
      await suite.sh(`cd ${mountRoot(TAG)}
        head -c 500000 /dev/urandom > local_fs/file; sum=$(cksum < local_fs/file)
        refuses EXDEV rename local_fs/file mem_fs/file
        mv local_fs/file mem_fs/file
        [ ! -e local_fs/file ]; same "$(cksum < mem_fs/file)" "$sum"
        mkdir -p mem_fs/dir/sub; mv mem_fs/file mem_fs/dir/sub/; mv mem_fs/dir local_fs/
        [ ! -e mem_fs/dir ]; same "$(cksum < local_fs/dir/sub/file)" "$sum"
        rm -r local_fs/dir`)
    })
  })

  it(
    'links that the host made: followed below the root, refused beyond it',
    { skip: isReferenceDaemon },
    async () => {
      await mkdir(path.join(folderOf('local'), 'links'))
      await writeFile(path.join(folderOf('local'), 'links/file'), 'below\n')
      await symlink('file', path.join(folderOf('local'), 'links/inside'))
      await symlink('/etc/hostname', path.join(folderOf('local'), 'links/outside'))
      await symlink('../../..', path.join(folderOf('local'), 'links/up'))
      await suite.sh(`cd ${LOCAL}/links; same "$(cat inside)" below
      for link in outside up up/etc; do if cat $link > /dev/null 2>&1 || ls -d $link/. > /dev/null 2>&1; then echo "$link was followed"; exit 1; fi; done
`)
      rmSync(path.join(folderOf('local'), 'links'), { recursive: true })
      assert.equal(existsSync('/etc/hostname'), true)
    },
  )

  describe('settings of a mount', { skip: isReferenceDaemon }, () => {
    it('read_only: reading works, every change is EROFS', async () => {
      await suite.sh(`cd ${mountRoot(TAG)}/frozen
        same "$(cat sub/file)" 'cannot change'
        refuses EROFS create new; refuses EROFS mkdir new; refuses EROFS unlink sub/file; refuses EROFS rmdir sub
        refuses EROFS rename sub/file other; refuses EROFS create sub/file; refuses EROFS append sub/file 1 x
        if truncate -s 0 sub/file 2> /tmp/why; then exit 1; fi; grep -q 'Read-only file system' /tmp/why
        if touch -d yesterday sub/file 2> /tmp/why; then exit 1; fi; grep -q 'Read-only file system' /tmp/why
        same "$(cat sub/file)" 'cannot change'; same "$(ls)" sub`)
    })

    it('uid, gid and file_mode; programs run from the mount', async () => {
      await suite.sh(`cd ${mountRoot(TAG)}/programs
        cp /usr/bin/cksum program
        printf '#!/usr/bin/bash\\necho "script says $1"\\n' > script
        same "$(stat -c '%u %g %a' program)" '1000 1001 755'
        same "$(./program < program)" "$(cksum < /usr/bin/cksum)"
        same "$(./script hello)" 'script says hello'
        rm program script`)
    })
  })

  describe('traces', { skip: isReferenceDaemon }, () => {
    const [local] = MOUNTS
    if (local !== undefined) tracingCase(suite, local)
  })

  describe('the life of a mount', () => {
    it('umount and mount again: everything is still there', async () => {
      const before = await suite.sh(
        `cd ${mountRoot(TAG)}; for m in ${LOCAL} ${MEMORY}; do mkdir $m/kept; head -c 300000 /dev/urandom > $m/kept/file; cksum $m/kept/file; done`,
      )
      for (let round = 0; round < 3; round++) {
        await suite.unmountAll()
        await suite.mountAll()
        assert.equal(await suite.sh(`cksum ${LOCAL}/kept/file ${MEMORY}/kept/file`), before)
      }
    })

    it('a second mount of the same tag, then one of the two goes', async () => {
      await suite.sh(`mkdir /tmp/second; mount -t virtiofs ${TAG} /tmp/second
        echo through the first > ${MEMORY}/both; same "$(cat /tmp/second/mem_fs/both)" 'through the first'
        umount /tmp/second; same "$(cat ${MEMORY}/both)" 'through the first'; rm ${MEMORY}/both; rmdir /tmp/second`)
    })

    it(
      'the guest is stopped and continued while it reads and writes',
      { skip: isReferenceDaemon },
      async () => {
        await suite.sh(`cd ${LOCAL}; mkdir stopped
        fio --name=job --directory=stopped --rw=randrw --bs=4k --size=4m --numjobs=4 --ioengine=psync --verify=crc32c --verify_fatal=1 --fallocate=none --verify_state_save=0 --output=/tmp/stopped < /dev/null > /dev/null 2>&1 &
        echo $! > /tmp/stopped.pid`)
        for (let round = 0; round < 10; round++) {
          await suite.guest.pause()
          await suite.guest.resume()
          await suite.sh(`echo ${round} > ${MEMORY}/tick; same "$(cat ${MEMORY}/tick)" ${round}`)
        }
        await suite.sh(
          `while kill -0 $(cat /tmp/stopped.pid) 2>/dev/null; do sleep 0.2; done
        grep -q 'err= 0' /tmp/stopped || { cat /tmp/stopped; exit 1; }; rm -r ${LOCAL}/stopped ${MEMORY}/tick`,
          120_000,
        )
      },
    )

    it('a reset in the middle of work, then mount again', { skip: isReferenceDaemon }, async () => {
      const sums = await suite.sh(`cksum ${LOCAL}/kept/file ${MEMORY}/kept/file`)
      for (let round = 0; round < 2; round++) {
        // Open files, and writers in full swing, when the reset comes.
        await suite.sh(`for m in ${LOCAL} ${MEMORY}; do
          for w in 1 2; do ( while :; do dd if=/dev/zero of=$m/interrupted-$w bs=64k count=100 status=none; done ) < /dev/null > /dev/null 2>&1 & done
          ( exec 3> $m/left-open; echo unfinished >&3; while :; do sleep 100; done ) < /dev/null > /dev/null 2>&1 &
        done; sleep 0.5`)
        await suite.guest.reboot()
        await suite.mountAll()
        assert.equal(await suite.sh(`cksum ${LOCAL}/kept/file ${MEMORY}/kept/file`), sums)
        await suite.sh(`for m in ${LOCAL} ${MEMORY}; do
          ls -l $m > /dev/null; echo again > $m/interrupted-1; same "$(cat $m/interrupted-1)" again
          rm -f $m/interrupted-1 $m/interrupted-2 $m/left-open; same "$(ls $m)" kept
        done`)
      }
    })

    it('leaves nothing behind: no files, and no descriptors in the daemon', async () => {
      const daemonPid = suite.daemon(TAG).process.pid ?? 0
      const openDescriptors = (): number => readdirSync(`/proc/${daemonPid}/fd`).length
      await suite.sh(`rm -r ${LOCAL}/kept ${MEMORY}/kept; same "$(ls -A ${LOCAL} ${MEMORY} | grep -v :)" ""`)
      const before = openDescriptors()
      await suite.sh(
        `for i in $(seq 1 200); do echo $i > ${LOCAL}/f$i; echo $i > ${MEMORY}/f$i; done; cat ${LOCAL}/f* ${MEMORY}/f* > /dev/null; rm ${LOCAL}/f* ${MEMORY}/f*`,
      )
      // A few may belong to connections or threads that the daemon keeps.
      assert(openDescriptors() <= before + 8, `${before} descriptors before, ${openDescriptors()} after`)
    })

    it('powers off; the daemon ends with code 0 when asked to', async () => {
      await suite.unmountAll()
      await suite.guest.shutdown()
      const how = await suite.daemon(TAG).stop()
      assert.match(how, /exited with code 0$/)
    })
  })
})
