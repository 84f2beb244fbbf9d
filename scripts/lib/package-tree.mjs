// A tree of Debian packages that are unpacked and not installed: their programs are started from there.
import { existsSync, mkdirSync, renameSync, rmSync, symlinkSync } from 'node:fs'
import path from 'node:path'
import { fetchWithDependencies, packageOf, unpackPackage } from './debian.mjs'
import { SetupError } from './steps.mjs'

/**
 * Packages that are left out: the C library, because a program started by the host's loader needs the host's; and
 * what only an installation would run.
 */
export const LEFT_OUT =
  /^(libc6|libc-bin|base-files|base-passwd|dpkg|sudo|passwd|login|adduser|debconf|perl.*|libperl.*|binutils.*|libbinutils|lvm2|xfsprogs|parted|smartmontools|nvme-cli|wget|systemd.*|udev|gcc-.*-base|init-system-helpers|tar|ieee-data)$/
/** Debian keeps programs and libraries below usr/ and links to them from the root. */
const MERGED_USR = ['bin', 'sbin', 'lib', 'lib64']

/**
 * Fetch packages and all that they depend on, and unpack them. What was there before is replaced when all is well.
 *
 * @param {readonly string[]} packages
 * @param {string} dir gets usr/ and so on
 * @param {readonly string[]} neededFiles that must be there in the end, relative to `dir`
 */
export async function unpackTree(packages, dir, neededFiles) {
  const debsDir = `${dir}.debs`
  const debs = await fetchWithDependencies(packages, debsDir)
  const fresh = `${dir}.new`
  rmSync(fresh, { recursive: true, force: true })
  for (const name of MERGED_USR) {
    mkdirSync(path.join(fresh, 'usr', name), { recursive: true })
    symlinkSync(`usr/${name}`, path.join(fresh, name))
  }
  for (const deb of debs) if (!LEFT_OUT.test(packageOf(deb))) await unpackPackage(deb, fresh)
  for (const file of neededFiles) {
    if (!existsSync(path.join(fresh, file))) throw new SetupError(`the fetched packages have no /${file}`)
  }
  rmSync(dir, { recursive: true, force: true })
  renameSync(fresh, dir)
  rmSync(debsDir, { recursive: true, force: true })
}
