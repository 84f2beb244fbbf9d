// A small C compiler and make from Debian's packages, unpacked into the cache: a guest gets them by a read-only mount.
import { existsSync, renameSync, rmSync } from 'node:fs'
import path from 'node:path'
import { fetchPackages, unpackPackage } from './debian.mjs'
import { fingerprint, readStamp, writeStamp } from './fingerprint.mjs'
import { cacheDir } from './paths.mjs'
import { SetupError, step } from './steps.mjs'

/** libc6 for the libraries that were separate once and that old programs still ask for; the guest has the C library itself. */
const PACKAGES = ['tcc', 'make', 'libc6', 'libc6-dev', 'linux-libc-dev']
const NEEDED_FILES = [
  'usr/bin/tcc',
  'usr/bin/make',
  'usr/include/stdio.h',
  'usr/lib/x86_64-linux-gnu/crt1.o',
  'lib/x86_64-linux-gnu/libdl.so.2',
]

/** Its usr/bin has tcc and make, its usr/include the headers. */
export const compilerRoot = path.join(cacheDir, 'guest-compiler')

/** Fetch and unpack them, unless that is done. */
export async function ensureGuestCompiler() {
  const stampFile = path.join(compilerRoot, '.stamp')
  const key = fingerprint([], ...PACKAGES)
  if (readStamp(stampFile) === key) return
  await step('fetching a compiler for the guest', async () => {
    const fresh = `${compilerRoot}.new`
    rmSync(fresh, { recursive: true, force: true })
    for (const deb of await fetchPackages(PACKAGES, `${compilerRoot}.debs`)) await unpackPackage(deb, fresh)
    for (const file of NEEDED_FILES) {
      if (!existsSync(path.join(fresh, file))) throw new SetupError(`the fetched packages have no /${file}`)
    }
    rmSync(compilerRoot, { recursive: true, force: true })
    renameSync(fresh, compilerRoot)
    rmSync(`${compilerRoot}.debs`, { recursive: true, force: true })
  })
  writeStamp(stampFile, key)
}
