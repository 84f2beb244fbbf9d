// The servers of the tests: Ceph, OpenStack Swift, Apache httpd and Prometheus from Debian's packages, Apache Hadoop from Maven Central.
// Nothing is installed: everything is unpacked into the cache and started from there by test/servers/.
import path from 'node:path'
import { fingerprint, readStamp, writeStamp } from './fingerprint.mjs'
import { ensureHadoop } from './servers-hadoop.mjs'
import { ensureHttpd } from './servers-httpd.mjs'
import { ensurePrometheus } from './servers-prometheus.mjs'
import { LEFT_OUT, unpackTree } from './package-tree.mjs'
import { cacheDir } from './paths.mjs'
import { run, SetupError, step } from './steps.mjs'

/** The packages whose programs are started; all that they depend on comes along. */
const PACKAGES = ['radosgw', 'ceph-osd', 'ceph-mon', 'python3-swift', 'memcached']
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
/** What the packages are unpacked to. */
export const packagesRoot = path.join(serversDir, 'root')

/** Fetch and unpack whatever of the servers is missing or out of date. Without Hadoop only a warning is printed. */
export async function ensureServers() {
  await ensureServerPackages()
  await ensureHttpd()
  await ensurePrometheus()
  await ensureHadoop()
}

/** Ceph, Swift, memcached and the Python that Swift runs on, in .cache/servers/root. */
export async function ensureServerPackages() {
  if (process.arch !== 'x64') throw new SetupError('The storage servers are for x86-64 machines only.', 2)
  const stampFile = path.join(packagesRoot, '.stamp')
  const key = fingerprint([], ...PACKAGES, LEFT_OUT.source)
  if (readStamp(stampFile) === key) return
  await step('fetching Ceph and Swift', () => unpackTree(PACKAGES, packagesRoot, NEEDED_FILES))
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
