/** Pass-through mounts in a Linux guest: a whole system's tree at "/", and other mounts in it. */
import assert from 'node:assert/strict'
import { execFileSync } from 'node:child_process'
import { lstatSync, mkdirSync, mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs'
import os from 'node:os'
import path from 'node:path'
import { after, before, describe, it } from 'node:test'
import { dataCases } from './cases/data.js'
import { nameCases } from './cases/names.js'
import { isReferenceDaemon } from './daemon.js'
import { GuestSuite, mountRoot, SERVER_SIZES, type MountUnderTest } from './suite.js'

const TAG = 'system'
/** A second daemon, whose settings let the guest's kernel keep more. */
const KEEPING_TAG = 'keeping'
const hostFolder = mkdtempSync(path.join(os.tmpdir(), 'ovfsd-guest-passthrough-'))
const folderOf = (name: string): string => path.join(hostFolder, name)
const ROOT = mountRoot(TAG)

const COMMON = { outside: null, keepsColons: true, keepsTrailingSpace: true, isPosix: true, onHost: true }
const MOUNT: MountUnderTest = {
  ...{
    ...COMMON,
    tag: TAG,
    name: 'pass-through',
    profile: 'system',
    mountPoint: '',
    sizes: SERVER_SIZES,
  },
}
const KEPT: MountUnderTest = {
  ...{ ...COMMON, tag: KEEPING_TAG, name: 'kept', profile: 'kept', mountPoint: 'kept', sizes: SERVER_SIZES },
  // What the host changes there may never be seen.
  onHost: false,
}

describe('a Linux guest with pass-through mounts', { skip: isReferenceDaemon }, () => {
  before(() => {
    for (const name of ['system/mnt', 'system/work', 'system/volume', 'kept', 'frozen'])
      mkdirSync(folderOf(name), { recursive: true })
    writeFileSync(folderOf('frozen/file'), 'cannot change\n')
  })
  before(() => {
    execFileSync('mount', ['-t', 'tmpfs', 'tmpfs', folderOf('system/volume')])
  })
  after(() => {
    execFileSync('umount', ['--lazy', folderOf('system/volume')])
  })
  const suite = new GuestSuite(() => ({
    [TAG]: {
      profiles: {
        system: {
          type: 'passthrough',
          mount_point: '/',
          root: folderOf('system'),
          xattr: true,
          announce_submounts: true,
        },
        scratch: { type: 'memory', mount_point: 'mnt/scratch' },
        frozen: { type: 'passthrough', mount_point: 'frozen', root: folderOf('frozen'), read_only: true },
      },
    },
    [KEEPING_TAG]: {
      profiles: {
        kept: {
          ...{ type: 'passthrough', mount_point: 'kept', root: folderOf('kept'), guest_cache: 'always' },
          posix_acl: true,
          killpriv_v2: true,
        },
      },
      settings: { guest_writeback: true },
    },
  }))
  after(() => {
    rmSync(hostFolder, { recursive: true, force: true })
  })
  const host = (...names: string[]): string => path.join(folderOf('system'), ...names)

  it('the mounts lie in the tree, and stay there', async () => {
    await suite.sh(`cd ${ROOT}
      same "$(ls | tr '\\n' ' ')" 'frozen mnt volume work '; same "$(ls mnt)" scratch
      same "$(cat frozen/file)" 'cannot change'
      refuses EROFS create frozen/new; refuses EROFS chmod frozen/file 600
      refuses EBUSY rmdir frozen; refuses EBUSY rename mnt other; refuses EEXIST mkdir frozen; refuses EBUSY rmdir mnt/scratch
      echo in memory > mnt/scratch/file; refuses EXDEV rename mnt/scratch/file work/file; refuses EXDEV link mnt/scratch/file work/file
      mv mnt/scratch/file work/moved; same "$(cat work/moved)" 'in memory'
      ln -s ../mnt/scratch work/way; mv work/moved work/way/back; same "$(cat mnt/scratch/back)" 'in memory'; rm work/way mnt/scratch/back`)
  })

  // What the two do not share lies in the pages that the guest keeps: the names are the daemon's, the data the kernel's.
  describe('names', () => {
    nameCases(suite, MOUNT)
  })
  describe('data, where the guest keeps all it can and collects its writes', () => {
    dataCases(suite, KEPT)
  })

  suite.inFolder(
    MOUNT,
    'links, modes, owners and times',
    `
    echo content > file; ln file hard; ln -s file soft; ln -s nowhere dangling; mkdir -m 1777 dir
    same "$(stat -c '%h %i' file)" "$(stat -c '%h %i' hard)"; same "$(stat -c %h file)" 2
    same "$(cat soft)" content; same "$(readlink soft)" file; [ ! -e dangling ]; [ -L dangling ]
    chmod 4751 file; same "$(stat -c %a hard)" 4751
    chown 12:34 file; same "$(stat -c '%u %g %a' file)" '12 34 751'
    chown -h 56:78 soft; same "$(stat -c '%u %g' soft)" '56 78'; same "$(stat -c '%u' file)" 12
    touch -d '2001-02-03 04:05:06.123456789 UTC' file; same "$(stat -c %.Y hard)" 981173106.123456789
    mkfifo fifo; mknod null c 1 3; mknod disk b 7 300; same "$(stat -c '%F %t:%T' disk)" 'block special file 7:12c'
    ( echo through > fifo & ); same "$(cat fifo)" through
    echo gone > null; same "$(cat null)" ''
    same "$(stat -c %a dir)" 1777; rm hard; same "$(stat -c %h file)" 1
    tar -cf ../links.tar .; mkdir ../unpacked; tar -xpf ../links.tar -C ../unpacked
    same "$(cd ../unpacked; stat -c '%n %a %u %g %F %Y' *)" "$(stat -c '%n %a %u %g %F %Y' *)"
    rm -r ../unpacked ../links.tar`,
    {
      check: (_output, folder) => {
        assert.equal(statSync(host(folder, 'file')).mode & 0o7777, 0o751)
        assert.ok(lstatSync(host(folder, 'soft')).isSymbolicLink())
      },
    },
  )

  suite.inFolder(
    MOUNT,
    'permissions of users, sticky directories, set-user-ID and set-group-ID',
    `
    as() { setpriv --reuid=$1 --regid=$1 --groups=\${3:-$1} bash -c "$2"; }
    chmod 755 .; mkdir -m 1777 shared; mkdir -m 770 team; chgrp 500 team; chmod g+s team
    as 100 'echo one > shared/one; mkdir shared/dir; ln -s x shared/link'
    same "$(stat -c '%u %g' shared/one shared/dir shared/link | sort -u)" '100 100'
    if as 200 'rm shared/one' 2> /tmp/why; then exit 1; fi
    if as 200 'mv shared/one shared/two' 2> /tmp/why; then exit 1; fi
    if as 200 'chmod 777 shared/one' 2> /tmp/why; then exit 1; fi
    as 100 'chmod 600 shared/one'
    if as 200 'cat shared/one' 2> /tmp/why; then exit 1; fi
    if as 200 'echo x > team/no' 2> /tmp/why; then exit 1; fi
    as 200 'umask 027; echo x > team/yes; mkdir team/dir' 200,500
    same "$(stat -c '%u %g %a' team/yes)" '200 500 640'; same "$(stat -c '%u %g %a' team/dir)" '200 500 2750'
    cp /usr/bin/id id; chown 300:300 id; chmod 6755 id
    same "$(as 100 './id -u')" 300; same "$(as 100 './id -g')" 300
    chmod 6777 id; as 100 'echo >> id'; same "$(stat -c %a id)" 777`,
  )

  suite.inFolder(
    MOUNT,
    'holes, space, O_DIRECT and rename with flags',
    `
    truncate -s 10M sparse; same "$(stat -c %b sparse)" 0; printf x | dd of=sparse bs=1 seek=5M conv=notrunc status=none
    [ $(stat -c %b sparse) -le 16 ]
    cp --sparse=always sparse copy; cmp sparse copy; [ $(stat -c %b copy) -le 16 ]
    fallocate -l 1M full; [ $(stat -c %b full) -ge 2048 ]; fallocate -p -o 0 -l 512K full; [ $(stat -c %b full) -le 1100 ]
    head -c 1000000 /dev/urandom > data; dd if=data of=direct bs=64k oflag=direct iflag=fullblock status=none || cp data direct; cmp data direct
    echo a > a; echo b > b; refuses EEXIST rename-noreplace a b; fscalls rename-exchange a b; same "$(cat a b | tr '\\n' ' ')" 'b a '
    same "$(fscalls unlinked-file gone)" 'beforeAFTER! 9'; fscalls fsync-directory .`,
  )

  suite.inFolder(
    KEPT,
    'access lists, and set-user-ID bits that the host takes away',
    `
    as() { setpriv --reuid=$1 --regid=$1 --clear-groups bash -c "$2"; }
    chmod 755 .; echo secret > file; chmod 600 file
    if as 100 'cat file' 2> /tmp/why; then exit 1; fi
    fscalls set-access-list file access 6 0 0 100 4
    same "$(as 100 'cat file')" secret
    if as 200 'cat file' 2> /tmp/why; then exit 1; fi
    if as 100 'echo x >> file' 2> /tmp/why; then exit 1; fi
    chmod g= file; if as 100 'cat file' 2> /tmp/why; then exit 1; fi
    mkdir listed plain; fscalls set-access-list listed default 7 5 5 100 6
    ( umask 077; echo x > listed/file; echo x > plain/file )
    same "$(stat -c %a plain/file)" 600; same "$(stat -c %a listed/file)" 664
    chown -R 0:0 listed; chmod 711 listed; as 100 'echo more >> listed/file'
    for how in 'echo >> tool' ': > tool' 'truncate -s 1 tool' 'fallocate -l 8192 tool'; do
      echo x > tool; chmod 6777 tool; as 100 "$how"; same "$how $(stat -c %a tool)" "$how 777"
    done`,
  )

  it('a file system of the host below the root is one of its own, with its own device number', async () => {
    await suite.sh(`cd ${ROOT}; echo x > volume/file; mkdir volume/dir; echo y > volume/dir/file
      if [ "$(stat -c %d volume)" = "$(stat -c %d .)" ]; then cat /proc/mounts; exit 1; fi; same "$(stat -c %d volume/dir/file)" "$(stat -c %d volume)"
      same "$(stat -c %d work)" "$(stat -c %d .)"
      device=$(stat -c %d volume/dir); sleep 1.2; same "$(stat -c %d volume/dir)" "$device"
      if mv volume/file work/file 2>&1 && [ ! -e volume/file ]; then same "$(cat work/file)" x; rm work/file; else exit 1; fi
      same "$(grep -c ' /mnt/system/volume virtiofs ' /proc/mounts)" 1; sync -f volume/dir; rm -r volume/dir; umount volume`)
  })

  it('what the host does is seen within a second', async () => {
    writeFileSync(host('from-host'), 'one')
    await suite.sh(`cd ${ROOT}; same "$(cat from-host)" one; same "$(stat -c %s from-host)" 3`)
    writeFileSync(host('from-host'), 'longer')
    await suite.sh(`cd ${ROOT}; sleep 1.1; same "$(cat from-host)" longer; echo guest > from-host`)
    assert.equal(readFileSync(host('from-host'), 'utf8'), 'guest\n')
    rmSync(host('from-host'))
  })

  it('leaves no descriptors behind, and ends with code 0', async () => {
    await suite.unmountAll()
    await suite.guest.shutdown()
    assert.match(await suite.daemon(TAG).stop(), /exited with code 0$/)
  })
})
