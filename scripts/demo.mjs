// `npm run demo`: shows a Linux guest that mounts ovfsd, and checks what it shows. Needs no server.
import { createHash } from 'node:crypto'
import { cpSync, mkdirSync, mkdtempSync, readFileSync, rmSync } from 'node:fs'
import os from 'node:os'
import path from 'node:path'
import { filesBelow } from './lib/fingerprint.mjs'
import { inRoot, root } from './lib/paths.mjs'
import { say, SetupError } from './lib/steps.mjs'
import { runMain, setUp } from './setup.mjs'

const TAG = 'ovfsd'
const MOUNT = '/mnt/ovfsd'
/** The largest step writes and reads THROUGHPUT_MIB MiB. */
const STEP_MS = 120_000
const THROUGHPUT_MIB = 256

const style = (code) => (text) => (process.stdout.isTTY ? `\x1b[${code}m${text}\x1b[0m` : text)
const bold = style(1)
const green = style(32)
const red = style(31)
const dim = style(2)

await runMain(async () => {
  await setUp('demo')
  const folder = mkdtempSync(path.join(os.tmpdir(), 'ovfsd-demo-'))
  try {
    const failures = await show(folder)
    if (failures > 0) throw new SetupError(red(`${failures} checks failed.`))
    explain()
  } finally {
    rmSync(folder, { recursive: true, force: true })
  }
})

/** Run the whole demo; returns how many checks failed. */
async function show(folder) {
  // Compiled by the set-up above, so not there yet when this file is loaded.
  const { startDaemon } = await import('../dist/test/guest/daemon.js')
  const { Guest } = await import('../dist/test/guest/guest.js')
  const shared = path.join(folder, 'shared')
  mkdirSync(shared)
  for (const name of ['src', 'native/src', 'scripts'])
    cpSync(inRoot(name), path.join(shared, 'project', name), { recursive: true })

  heading('On the host: start ovfsd with two mount points')
  const daemon = await startDaemon({
    profiles: {
      local: { type: 'fs', mount_point: 'local_fs', root: shared },
      scratch: { type: 'memory', mount_point: 'mem_fs' },
    },
  })
  print(readFileSync(daemon.configPath, 'utf8').trimEnd(), dim)
  print(`\n$ node dist/src/cli/main.js --config-file=${daemon.configPath}`, bold)
  heading('On the host: boot a Linux guest in QEMU that is connected to its socket')
  let guest
  try {
    const bootedFrom = Date.now()
    guest = await Guest.boot({
      devices: [{ tag: TAG, socketPath: daemon.socketPath, daemon: daemon.process }],
    })
    say(
      `the guest is up after ${((Date.now() - bootedFrom) / 1000).toFixed(1)} s (its processors are emulated)`,
    )
    const failures = await tour(guest, shared)
    heading('In the guest: unmount and power off')
    const off = await check('the guest powers off', async () => {
      await runInGuest(guest, `umount ${MOUNT}`)
      await guest.shutdown()
    })
    const ended = await check('ovfsd writes back what it holds and ends with code 0', async () => {
      const how = await daemon.stop()
      if (!how.endsWith('code 0')) throw new Error(how)
    })
    return failures + off + ended
  } finally {
    await guest?.close()
    await daemon.stop()
  }
}

/** What is done in the guest; returns how many checks failed. */
async function tour(guest, shared) {
  let failures = 0
  const run = (script) => runInGuest(guest, script)

  heading('In the guest: mount')
  await run(`uname -sr; mkdir -p ${MOUNT}; mount -t virtiofs ${TAG} ${MOUNT}`)
  await run(`ls -l ${MOUNT}; df -h ${MOUNT}/local_fs`)

  heading('In the guest: copy a tree in and out')
  await run(`cd ${MOUNT}; find local_fs/project -type f | wc -l; du -sh --apparent-size local_fs/project`)
  await run(`cd ${MOUNT}; time cp -r local_fs/project mem_fs/copy`)
  await run(`cd ${MOUNT}; time cp -r mem_fs/copy local_fs/back`)
  failures += await check('the host finds the same checksums in the tree that came back', () => {
    const [original, returned] = ['project', 'back'].map((name) => checksums(path.join(shared, name)))
    if (original.size === 0) throw new Error('there are no files to compare')
    for (const [file, sum] of original) if (returned.get(file) !== sum) throw new Error(`${file} differs`)
    if (returned.size !== original.size)
      throw new Error(`${original.size} files went in, ${returned.size} came back`)
    return `${original.size} files, SHA-256`
  })

  heading('In the guest: list, rename, append')
  await run(`cd ${MOUNT}/mem_fs; ls -l copy; mv copy/src copy/renamed; ls copy`)
  await run(
    `cd ${MOUNT}/local_fs; echo 'first line' > notes; echo 'second line' >> notes; mv notes notes.txt; cat notes.txt`,
  )
  failures += await check('the host sees the appended file under its new name', () => {
    const text = readFileSync(path.join(shared, 'notes.txt'), 'utf8')
    if (text !== 'first line\nsecond line\n') throw new Error(`it holds ${JSON.stringify(text)}`)
  })
  failures += await check('the memory mount has the renamed folder and not the old one', () =>
    run(`cd ${MOUNT}/mem_fs/copy; test -d renamed; test ! -e src`),
  )

  heading(
    `In the guest: throughput with ${THROUGHPUT_MIB} MiB (processors and memory are emulated: a real guest is faster)`,
  )
  for (const [name, directory] of [
    ['a host directory', 'local_fs'],
    ['memory', 'mem_fs'],
  ]) {
    print(`\n# ${name}`, dim)
    const file = `${MOUNT}/${directory}/large`
    await run(`dd if=/dev/zero of=${file} bs=1M count=${THROUGHPUT_MIB} conv=fsync 2>&1 | tail -n 1`)
    await run(`echo 3 > /proc/sys/vm/drop_caches; dd if=${file} of=/dev/null bs=1M 2>&1 | tail -n 1`)
    await run(`dd if=${file} of=/dev/null bs=1M iflag=direct 2>&1 | tail -n 1; rm ${file}`)
  }
  return failures
}

/** Show a script and what it prints; throws if it fails. */
async function runInGuest(guest, script) {
  print(`guest# ${script}`, bold)
  const { exitCode, stdout } = await guest.run(script, { timeoutMs: STEP_MS })
  if (stdout.trim() !== '') print(stdout.trim())
  if (exitCode !== 0) throw new SetupError(red(`this ended with exit code ${exitCode}`))
}

/** Show one check and its outcome; returns 1 if it failed. */
async function check(what, work) {
  try {
    const detail = await work()
    print(`${green('ok')}   ${what}${typeof detail === 'string' ? ` (${detail})` : ''}`)
    return 0
  } catch (error) {
    print(`${red('FAIL')} ${what}: ${error.message}`)
    return 1
  }
}

/** Every file below a folder with its SHA-256. */
function checksums(folder) {
  const names = filesBelow(path.relative(root, folder), () => true, [])
  return new Map(
    names.map((name) => [
      path.relative(folder, inRoot(name)),
      createHash('sha256')
        .update(readFileSync(inRoot(name)))
        .digest('hex'),
    ]),
  )
}

function heading(text) {
  process.stdout.write('\n')
  say(bold(text))
}

/** Print lines, indented under their heading. */
function print(text, styled = (line) => line) {
  for (const line of text.split('\n')) process.stdout.write(`    ${line === '' ? '' : styled(line)}\n`)
}

function explain() {
  heading('All checks passed. How to use ovfsd with your own virtual machine')
  print(`
1. Say what to mount, for example in ovfsd.toml (ovfsd.example.toml has every key, CONFIGURATION.md explains them):

     [ovfsd_settings]
     socket_path = "/tmp/ovfsd.sock"
     enabled_services = "fs,s3"

     [profiles.local]
     type = "fs"
     mount_point = "local_fs"
     root = "/srv/shared"

     [profiles.bucket]
     type = "s3"
     mount_point = "s3_fs"
     bucket = "my-bucket"
     endpoint = "https://s3.example.com"
     region = "us-east-1"
     access_key_id = "..."
     secret_access_key = "..."

2. Check it, and start the daemon:

     ${inRoot('bin/ovfsd.cjs')} --config-file=ovfsd.toml --check
     ${inRoot('bin/ovfsd.cjs')} --config-file=ovfsd.toml

3. Add this to QEMU's command line (the guest's memory must be shared, and both sizes must be the same):

     -m 4G -object memory-backend-memfd,id=mem,size=4G,share=on -numa node,memdev=mem
     -chardev socket,id=ovfsd,path=/tmp/ovfsd.sock
     -device vhost-user-fs-pci,queue-size=1024,chardev=ovfsd,tag=ovfsd

4. In the guest, as root:

     mount -t virtiofs ovfsd /mnt
     ls /mnt                        # local_fs  s3_fs`)
}
