// The test guest: Debian's cloud kernel, and an initramfs with busybox, kernel modules, our agent and real programs
// with the shared libraries they need. Nothing of it is installed on the host.
import {
  copyFileSync,
  cpSync,
  existsSync,
  lstatSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  realpathSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs'
import path from 'node:path'
import {
  debsIn,
  fetchPackages,
  fetchWithDependencies,
  findCommand,
  packageOf,
  resolveMetaPackage,
  unpackPackage,
} from './debian.mjs'
import { filesBelow, fingerprint, readStamp, writeStamp } from './fingerprint.mjs'
import { cacheDir, inRoot } from './paths.mjs'
import { run, SetupError, step } from './steps.mjs'

/** The packages whose programs the guest has; their dependencies only lend shared libraries. */
const PROGRAM_PACKAGES = [
  'bash',
  'busybox-static',
  'coreutils',
  'diffutils',
  'findutils',
  'fio',
  'git',
  'grep',
  'mount',
  'sed',
  'sqlite3',
  'tar',
  'util-linux',
]
/** Programs that no test calls and that would bring large libraries along. */
const LEFT_OUT =
  /^(git-shell|scalar|fio-.*|genfio|.*\.py|git-remote-.*|git-http-.*|git-imap-send|git-daemon)$/
const KERNEL_META_PACKAGE = 'linux-image-cloud-amd64'
const KERNEL_PREFIX = 'linux-image-'
/** The modules that the guest loads; what they depend on is found and loaded first. */
const MODULES = ['virtio_pci', 'virtio_console', 'virtiofs']
/** Debian keeps programs and libraries below usr/ and links to them from the root. */
const MERGED_USR = ['bin', 'sbin', 'lib', 'lib64']
const LIBRARY_DIR = 'usr/lib/x86_64-linux-gnu'
/** Loaded by name at run time, so no program lists it: the C library needs it to end a thread. */
const HIDDEN_LIBRARIES = ['libgcc_s.so.1']

const guestDir = path.join(cacheDir, 'guest')
const kernelDir = path.join(cacheDir, 'kernel')
const packagesRoot = path.join(guestDir, 'root')
const programSources = () => filesBelow('test/guest/programs')
const INIT = 'test/guest/init.sh'

/** Where the finished guest lies; test/guest/guest.ts reads the same file. */
export const guestManifest = path.join(guestDir, 'guest.json')

/** Fetch, build and pack whatever of the guest is missing or out of date. */
export async function ensureGuestImage() {
  if (process.arch !== 'x64') throw new SetupError('The test guest is for x86-64 machines only.', 2)
  const packagesStamp = path.join(packagesRoot, '.stamp')
  const packagesKey = fingerprint([], ...PROGRAM_PACKAGES)
  if (readStamp(packagesStamp) !== packagesKey)
    await step("fetching the guest's programs", () => fetchPrograms(packagesStamp, packagesKey))
  const kernelStamp = path.join(kernelDir, '.stamp')
  const kernelKey = fingerprint([], KERNEL_META_PACKAGE, ...MODULES)
  if (readStamp(kernelStamp) !== kernelKey)
    await step("fetching the guest's kernel", () => fetchKernel(kernelStamp, kernelKey))
  const imageStamp = path.join(guestDir, 'image.stamp')
  const imageKey = fingerprint(
    [INIT, 'scripts/lib/guest-image.mjs', ...programSources()],
    packagesKey,
    kernelKey,
  )
  if (readStamp(imageStamp) !== imageKey || !existsSync(guestManifest)) {
    await step("building the guest's initramfs", () => buildImage(imageStamp, imageKey))
  }
}

async function fetchPrograms(stampFile, key) {
  const debs = await fetchWithDependencies(PROGRAM_PACKAGES, path.join(guestDir, 'debs'))
  rmSync(packagesRoot, { recursive: true, force: true })
  for (const name of MERGED_USR) {
    mkdirSync(path.join(packagesRoot, 'usr', name), { recursive: true })
    symlinkSync(`usr/${name}`, path.join(packagesRoot, name))
  }
  for (const deb of debs) await unpackPackage(deb, packagesRoot)
  writeStamp(stampFile, key)
}

async function fetchKernel(stampFile, key) {
  const name = await resolveMetaPackage(KERNEL_META_PACKAGE, KERNEL_PREFIX)
  const [deb] = await fetchPackages([name], path.join(cacheDir, 'kernel-deb'))
  rmSync(kernelDir, { recursive: true, force: true })
  await unpackPackage(deb, kernelDir)
  // The installed package would run this itself: it writes modules.dep, which says what depends on what.
  await run(findCommand('depmod') ?? 'depmod', ['-b', kernelDir, kernelVersion()])
  writeStamp(stampFile, key)
}

function kernelVersion() {
  const [version, ...others] = readdirSync(path.join(kernelDir, 'lib/modules'))
  if (version === undefined || others.length > 0)
    throw new SetupError(`${kernelDir}/lib/modules should hold one kernel version`)
  return version
}

async function buildImage(stampFile, key) {
  const tree = path.join(guestDir, 'tree')
  rmSync(tree, { recursive: true, force: true })
  for (const name of MERGED_USR) {
    mkdirSync(path.join(tree, 'usr', name), { recursive: true })
    symlinkSync(`usr/${name}`, path.join(tree, name))
  }
  for (const name of ['dev', 'proc', 'sys', 'run', 'tmp', 'mnt', 'root', 'etc', 'modules'])
    mkdirSync(path.join(tree, name))
  writeFileSync(path.join(tree, 'etc/passwd'), 'root:x:0:0:root:/root:/bin/bash\n')
  writeFileSync(path.join(tree, 'etc/group'), 'root:x:0:\n')
  const version = kernelVersion()
  copyModules(tree, version)
  // Programs start others with sh; bash behaves as one under that name.
  symlinkSync('bash', path.join(tree, 'usr/bin/sh'))
  await copyPrograms(tree)
  await compilePrograms(tree)
  copyFileSync(inRoot(INIT), path.join(tree, 'init'))
  const initramfs = path.join(guestDir, 'initramfs.cpio')
  // Not compressed: an emulated processor unpacks slower than the host's disk reads.
  await run('sh', [
    '-c',
    'set -e; chmod 755 "$1/init"; cd "$1"; find . | LC_ALL=C sort | cpio --quiet -o -H newc -R 0:0 > "$2"',
    'pack',
    tree,
    initramfs,
  ])
  const manifest = {
    kernelVersion: version,
    kernel: path.join(kernelDir, 'boot', `vmlinuz-${version}`),
    initramfs,
    tree,
  }
  writeFileSync(guestManifest, `${JSON.stringify(manifest, null, 2)}\n`)
  writeStamp(stampFile, key)
}

/** Copy MODULES and what they need as /modules/NN-name.ko, numbered in the order in which they must be loaded. */
function copyModules(tree, version) {
  const modulesDir = path.join(kernelDir, 'lib/modules', version)
  const nameOf = (file) => path.basename(file, '.ko').replaceAll('-', '_')
  const needs = new Map()
  for (const line of readFileSync(path.join(modulesDir, 'modules.dep'), 'utf8').split('\n')) {
    const [file, rest = ''] = line.split(':')
    if (file) needs.set(nameOf(file), { file, needed: rest.split(' ').filter(Boolean).map(nameOf) })
  }
  const builtIn = new Set(
    readFileSync(path.join(modulesDir, 'modules.builtin'), 'utf8').split('\n').map(nameOf),
  )
  const order = []
  const add = (name) => {
    if (order.includes(name) || builtIn.has(name)) return
    const entry = needs.get(name)
    if (entry === undefined) throw new SetupError(`kernel ${version} has no module ${name}`)
    entry.needed.forEach(add)
    order.push(name)
  }
  MODULES.forEach(add)
  order.forEach((name, index) => {
    const target = `${String(index).padStart(2, '0')}-${name}.ko`
    copyFileSync(path.join(modulesDir, needs.get(name).file), path.join(tree, 'modules', target))
  })
}

async function copyPrograms(tree) {
  const copied = []
  const copy = (file) => {
    const target = path.join(tree, file)
    mkdirSync(path.dirname(target), { recursive: true })
    cpSync(path.join(packagesRoot, file), target, { recursive: true, verbatimSymlinks: true, force: true })
    copied.push(file)
  }
  const debs = debsIn(path.join(guestDir, 'debs'))
  for (const deb of debs.filter((file) => PROGRAM_PACKAGES.includes(packageOf(file)))) {
    const { stdout } = await run('dpkg-deb', ['--contents', deb])
    for (const line of stdout.split('\n')) {
      const file = line.match(
        / \.\/((?:usr\/)?(?:bin|sbin|lib\/git-core)\/[^ /]+)(?: -> .*)?(?: link to .*)?$/,
      )?.[1]
      if (file !== undefined && !LEFT_OUT.test(path.basename(file)))
        copy(file.startsWith('usr/') ? file : `usr/${file}`)
    }
  }
  copy('usr/share/git-core/templates')
  await copyLibraries(tree, copied, copy)
}

/** Copy the shared libraries that the copied programs, and those libraries in their turn, are linked with. */
async function copyLibraries(tree, programs, copy) {
  const libraries = new Map()
  const index = (dir) => {
    for (const entry of readdirSync(path.join(packagesRoot, dir), { withFileTypes: true })) {
      const file = path.join(dir, entry.name)
      if (entry.isDirectory()) index(file)
      else if (entry.name.includes('.so') && !libraries.has(entry.name)) libraries.set(entry.name, file)
    }
  }
  // First where programs name their loader: /lib64 has a link to it.
  index('usr/lib64')
  index(LIBRARY_DIR)
  const seen = new Set()
  let pending = [...HIDDEN_LIBRARIES]
  let files = programs.filter((file) => lstatSync(path.join(tree, file)).isFile())
  while (files.length > 0 || pending.length > 0) {
    if (files.length > 0) {
      // Scripts among the files make readelf complain and end with code 1; it goes on with the others.
      const { stdout } = await run(
        'readelf',
        ['--dynamic', '--program-headers', '--wide', ...files.map((file) => path.join(tree, file))],
        { okCodes: [0, 1] },
      )
      for (const match of stdout.matchAll(/\(NEEDED\).*\[(.+)\]|program interpreter: .*\/([^/\]]+)\]/g))
        pending.push(match[1] ?? match[2])
    }
    files = []
    for (const name of pending) {
      if (seen.has(name)) continue
      seen.add(name)
      const link = libraries.get(name)
      if (link === undefined) throw new SetupError(`no Debian package brought the library ${name}`)
      const real = realPathBelow(packagesRoot, link)
      copy(link)
      if (real !== link) copy(real)
      files.push(real)
    }
    pending = []
  }
}

/** Follow links from a file below `base`, taking absolute ones as `base`'s own; the result is relative to `base`. */
function realPathBelow(base, file) {
  let current = file
  while (lstatSync(path.join(base, current)).isSymbolicLink()) {
    const target = readlinkSync(path.join(base, current))
    current = path.isAbsolute(target) ? target.slice(1) : path.join(path.dirname(current), target)
  }
  // Only a folder such as lib -> usr/lib can be a link now, and those lie within `base`.
  return path.relative(realpathSync(base), realpathSync(path.join(base, current)))
}

/** Compile test/guest/programs/NAME.cc, linked statically, to /usr/bin/NAME. */
async function compilePrograms(tree) {
  for (const source of programSources().filter((file) => file.endsWith('.cc'))) {
    const target = path.join(tree, 'usr/bin', path.basename(source, '.cc'))
    await run('g++', [
      '-std=c++20',
      '-O2',
      '-Wall',
      '-Wextra',
      '-Werror',
      '-static',
      '-s',
      '-o',
      target,
      inRoot(source),
    ])
  }
}
