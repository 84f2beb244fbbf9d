/** A guest whose root file system is a pass-through mount, from a daemon that was started as Kata starts it, with an S3 mount beside it. */
import assert from 'node:assert/strict'
import { cpSync, existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import os from 'node:os'
import path from 'node:path'
import { after, before, describe, it } from 'node:test'
import { fileURLToPath } from 'node:url'
import { cephStore } from '../support/server-stores.js'
import { inheriting } from '../support/inherited-socket.js'
import type { PreparedStore } from '../support/store.js'
import { isReferenceDaemon } from './daemon.js'
import { Guest, readManifest } from './guest.js'
import { untilListening } from './listening.js'
import { ManagedProcess } from './process.js'

/** Kata's tag. */
const TAG = 'kataShared'
const LISTEN_DEADLINE_MS = 30_000
/** The descriptor that Kata's runtime in Go hands down. */
const SOCKET_FD = 3
const GIT = 'GIT_AUTHOR_NAME=a GIT_AUTHOR_EMAIL=a@b GIT_COMMITTER_NAME=a GIT_COMMITTER_EMAIL=a@b'

describe(
  'a guest with its root on a pass-through mount and S3 beside it',
  { skip: isReferenceDaemon },
  () => {
    const folder = mkdtempSync(path.join(os.tmpdir(), 'ovfsd-guest-root-'))
    const root = path.join(folder, 'root')
    let store: PreparedStore
    let daemon: ManagedProcess | undefined
    let guest: Guest | undefined

    before(async () => {
      store = await cephStore.prepare()
      cpSync(readManifest().tree, root, { recursive: true, verbatimSymlinks: true })
      // Mount points lie in directories that are there.
      mkdirSync(path.join(root, 'srv'))
      const config = path.join(folder, 'kata.toml')
      const options = Object.entries({ ...store.options, type: 's3', mount_point: 'srv/models' })
      const lines = options.map(([key, value]) => `${key} = ${JSON.stringify(value)}`)
      writeFileSync(config, ['[ovfsd_settings]', '[profiles.models]', ...lines, ''].join('\n'), {
        mode: 0o600,
      })
      const socketPath = path.join(folder, 'socket')
      // dist/test/guest/ -> the repository's root
      const program = fileURLToPath(new URL('../../../bin/ovfsd.cjs', import.meta.url))
      const [command, ...args] = inheriting(socketPath, SOCKET_FD, 'quiet', [
        ...[process.execPath, program, '--syslog', '--cache=auto', `--shared-dir=${root}`],
        ...[`--fd=${SOCKET_FD}`, '--thread-pool-size=1', '--announce-submounts'],
        // What virtio_fs_extra_args adds.
        `--config-file=${config}`,
      ])
      daemon = new ManagedProcess('ovfsd', command, args)
      await untilListening(socketPath, daemon, LISTEN_DEADLINE_MS)
      guest = await Guest.boot({ devices: [{ tag: TAG, socketPath, daemon }], root: TAG })
    })
    after(async () => {
      await guest?.close()
      await daemon?.stop()
      await store.dispose()
      rmSync(folder, { recursive: true, force: true })
    })

    async function sh(script: string): Promise<string> {
      assert(guest !== undefined)
      const { exitCode, stdout } = await guest.run(script)
      assert.equal(exitCode, 0, stdout)
      return stdout
    }

    it('has booted from it', async () => {
      assert.match(await sh('cat /proc/mounts'), new RegExp(`^${TAG} / virtiofs rw`, 'm'))
      await sh('echo from the guest > /etc/motd')
      assert.equal(readFileSync(path.join(root, 'etc/motd'), 'utf8'), 'from the guest\n')
    })

    it('runs programs that are there, with links, modes and owners', async () => {
      await sh(`cd /root; export ${GIT}
      git init -q repository; cd repository; cp /usr/bin/git program; ln -s program link; echo text > file
      chmod 640 file; chown 12:34 file; [ "$(stat -c '%a %u %g' file)" = '640 12 34' ]
      git add -A; git commit -qm first; git fsck --strict --no-progress; [ "$(git status --porcelain)" = '' ]; ./link --version
      [ "$(sqlite3 base 'create table t(a); insert into t values(1); select * from t')" = 1 ]; rm base
      tar -C / -cf - etc | tar -tf - > /dev/null; mkfifo pipe; ( echo through > pipe & ); [ "$(cat pipe)" = through ]`)
      assert.ok(existsSync(path.join(root, 'root/repository/.git/HEAD')))
    })

    it('finds the bucket in its tree, and others find there what it wrote', async () => {
      const { view } = store
      assert(view !== null)
      await view.write('weights/from-outside', 'a model')
      await sh(`cd /srv/models; [ "$(cat weights/from-outside)" = 'a model' ]; cp /usr/bin/tar weights/; cmp /usr/bin/tar weights/tar
      mv weights/tar /usr/bin/moved; cmp /usr/bin/tar /usr/bin/moved; [ ! -e weights/tar ]
      cp -r /root/repository/.git weights/; echo done > weights/last`)
      assert.equal((await view.read('weights/last'))?.toString(), 'done\n')
    })

    it('powers off, and the daemon ends with it', async () => {
      assert(guest !== undefined && daemon !== undefined)
      await guest.shutdown()
      assert.match(await daemon.exited, /exited with code 0$/)
    })
  },
)
