// The storage servers of the tests: Ceph, OpenStack Swift and Apache httpd from Debian's packages, Apache Hadoop from Maven Central.
// Nothing is installed: everything is unpacked into the cache and started from there by test/servers/.
import { existsSync, mkdirSync, renameSync, rmSync, symlinkSync } from 'node:fs'
import path from 'node:path'
import { fetchWithDependencies, packageOf, unpackPackage } from './debian.mjs'
import { fingerprint, readStamp, writeStamp } from './fingerprint.mjs'
import { ensureHadoop } from './servers-hadoop.mjs'
import { ensureHttpd } from './servers-httpd.mjs'
import { cacheDir } from './paths.mjs'
import { run, SetupError, step } from './steps.mjs'

/** The packages whose programs are started; all that they depend on comes along. */
const PACKAGES = ['radosgw', 'ceph-osd', 'ceph-mon', 'python3-swift', 'memcached']
/**
 * Packages that are left out: the C library, because a program started by the host's loader needs the host's; and
 * what only an installation would run.
 */
const LEFT_OUT =
  /^(libc6|libc-bin|base-files|base-passwd|dpkg|sudo|passwd|login|adduser|debconf|perl.*|libperl.*|binutils.*|libbinutils|lvm2|xfsprogs|parted|smartmontools|nvme-cli|wget|systemd.*|udev|gcc-.*-base|init-system-helpers|tar|ieee-data)$/
/** Debian keeps programs and libraries below usr/ and links to them from the root. */
const MERGED_USR = ['bin', 'sbin', 'lib', 'lib64']
const PYTHON = 'usr/bin/python3'
const PYTHON_PACKAGES = 'usr/lib/python3/dist-packages'
const NEEDED_FILES = [
  'usr/bin/ceph-mon',
  'usr/bin/ceph-osd',
  'usr/bin/radosgw',
  'usr/bin/radosgw-admin',
  'usr/bin/ceph-authtool',
  'usr/bin/monmaptool',
  'usr/bin/osdmaptool',
  'usr/bin/memcached',
  PYTHON,
]

const serversDir = path.join(cacheDir, 'servers')
const packagesRoot = path.join(serversDir, 'root')

/** Fetch and unpack whatever of the servers is missing or out of date. Without Hadoop only a warning is printed. */
export async function ensureServers() {
  await ensureServerPackages()
  await ensureHttpd()
  await ensureHadoop()
}

/** Ceph, Swift, memcached and the Python that Swift runs on, in .cache/servers/root. */
export async function ensureServerPackages() {
  if (process.arch !== 'x64') throw new SetupError('The storage servers are for x86-64 machines only.', 2)
  const stampFile = path.join(packagesRoot, '.stamp')
  const key = fingerprint([], ...PACKAGES, LEFT_OUT.source)
  if (readStamp(stampFile) === key) return
  await step('fetching Ceph and Swift', async () => {
    const debsDir = path.join(serversDir, 'debs')
    const debs = await fetchWithDependencies(PACKAGES, debsDir)
    const fresh = path.join(serversDir, 'root.new')
    rmSync(fresh, { recursive: true, force: true })
    for (const name of MERGED_USR) {
      mkdirSync(path.join(fresh, 'usr', name), { recursive: true })
      symlinkSync(`usr/${name}`, path.join(fresh, name))
    }
    for (const deb of debs) if (!LEFT_OUT.test(packageOf(deb))) await unpackPackage(deb, fresh)
    for (const file of NEEDED_FILES) {
      if (!existsSync(path.join(fresh, file))) throw new SetupError(`the fetched packages have no /${file}`)
    }
    rmSync(packagesRoot, { recursive: true, force: true })
    renameSync(fresh, packagesRoot)
    rmSync(debsDir, { recursive: true, force: true })
  })
  // The packages' own installation would do this; without it every start of Swift would compile its imports.
  await step('compiling the Python packages', () =>
    run(
      path.join(packagesRoot, PYTHON),
      ['-I', '-m', 'compileall', '-q', '-j', '0', path.join(packagesRoot, PYTHON_PACKAGES)],
      // Some packages ship files for other versions of Python, which do not compile.
      { env: pythonEnvironment(), okCodes: [0, 1] },
    ),
  )
  writeStamp(stampFile, key)
}

function pythonEnvironment() {
  return {
    PATH: process.env.PATH,
    LD_LIBRARY_PATH: path.join(packagesRoot, 'usr/lib/x86_64-linux-gnu'),
    PYTHONHOME: path.join(packagesRoot, 'usr'),
  }
}
