// Apache httpd with WebDAV, of Debian's packages, for the tests of `webdav` and `http`; in .cache/httpd.
import { existsSync, mkdirSync, renameSync, rmSync, symlinkSync } from 'node:fs'
import path from 'node:path'
import { fetchPackages, unpackPackage } from './debian.mjs'
import { fingerprint, readStamp, writeStamp } from './fingerprint.mjs'
import { cacheDir } from './paths.mjs'
import { SetupError, step } from './steps.mjs'

/** The server and the libraries that it and its modules for WebDAV load: a tenth of all that the package depends on. */
const PACKAGES = [
  'apache2-bin',
  'libapr1',
  'libaprutil1',
  'libcrypt1',
  'libexpat1',
  'libpcre2-8-0',
  'libuuid1',
]
/** Debian keeps libraries below usr/ and links to them from the root. */
const MERGED_USR = ['bin', 'sbin', 'lib']
const NEEDED_FILES = ['usr/sbin/apache2', 'usr/lib/apache2/modules/mod_dav_fs.so']

const httpdDir = path.join(cacheDir, 'httpd')

/** Fetch and unpack it, if it is missing or out of date. */
export async function ensureHttpd() {
  const stampFile = path.join(httpdDir, '.stamp')
  const key = fingerprint([], ...PACKAGES)
  if (readStamp(stampFile) === key) return
  await step('fetching Apache httpd', async () => {
    const debsDir = `${httpdDir}-debs`
    const fresh = `${httpdDir}.new`
    const debs = await fetchPackages(PACKAGES, debsDir)
    rmSync(fresh, { recursive: true, force: true })
    for (const name of MERGED_USR) {
      mkdirSync(path.join(fresh, 'usr', name), { recursive: true })
      symlinkSync(`usr/${name}`, path.join(fresh, name))
    }
    for (const deb of debs) await unpackPackage(deb, fresh)
    for (const file of NEEDED_FILES) {
      if (!existsSync(path.join(fresh, file))) throw new SetupError(`the fetched packages have no /${file}`)
    }
    rmSync(httpdDir, { recursive: true, force: true })
    renameSync(fresh, httpdDir)
    rmSync(debsDir, { recursive: true, force: true })
  })
  writeStamp(stampFile, key)
}
