// Debian's packages: installs the programs that building and testing need, and fetches packages to be unpacked only.
import { accessSync, constants, mkdirSync, readdirSync, rmSync, writeFileSync } from 'node:fs'
import path from 'node:path'
import { run, SetupError, step } from './steps.mjs'

/** The Debian package that brings a command. */
const PACKAGE_OF_COMMAND = {
  'g++': 'g++',
  make: 'make',
  python3: 'python3',
  git: 'git',
  strace: 'strace',
  cpio: 'cpio',
  depmod: 'kmod',
  readelf: 'binutils',
  setpriv: 'util-linux',
  'qemu-system-x86_64': 'qemu-system-x86',
}

const SEARCH_PATH = [...(process.env.PATH ?? '').split(':'), '/usr/sbin', '/sbin'].filter(Boolean)

/** The full path of a command, or null. /usr/sbin is searched too: it is not in a user's PATH. */
export function findCommand(name) {
  for (const dir of SEARCH_PATH) {
    const full = path.join(dir, name)
    try {
      accessSync(full, constants.X_OK)
      return full
    } catch {
      // Not here; try the next folder.
    }
  }
  return null
}

const isRoot = () => process.getuid?.() === 0
const quietEnv = { ...process.env, DEBIAN_FRONTEND: 'noninteractive', LC_ALL: 'C' }
/** Wait for another apt (a fresh machine's own updates, for one) this many seconds. */
const APT_LOCK_SECONDS = 300
const aptBase = ['-q', '-y', '-o', `DPkg::Lock::Timeout=${APT_LOCK_SECONDS}`, '-o', 'APT::Sandbox::User=root']

/** The commands, of those asked for, that this machine lacks. */
export function missingCommands(commands) {
  return commands.filter((name) => findCommand(name) === null)
}

/**
 * Install the packages of the commands that are missing. Without root's rights the one command to run is shown and
 * the set-up ends with code 2.
 *
 * @param {readonly string[]} commands keys of PACKAGE_OF_COMMAND
 */
export async function ensureCommands(commands) {
  const missing = missingCommands(commands)
  if (missing.length === 0) return
  const packages = [...new Set(missing.map((name) => PACKAGE_OF_COMMAND[name] ?? name))]
  if (findCommand('apt-get') === null) {
    throw new SetupError(`these programs are needed and this is no Debian: ${missing.join(', ')}`, 2)
  }
  if (!isRoot()) {
    const install = `apt-get install -y --no-install-recommends ${packages.join(' ')}`
    throw new SetupError(
      `some Debian packages are missing. Run this, then try again:\n\n  sudo sh -c 'apt-get update && ${install}'\n`,
      2,
    )
  }
  await step(`installing Debian packages: ${packages.join(' ')}`, () =>
    withFreshLists((apt) => apt(['install', '--no-install-recommends', ...packages])),
  )
  const stillMissing = missingCommands(commands)
  if (stillMissing.length > 0)
    throw new SetupError(
      `apt-get installed ${packages.join(' ')}, yet there is no ${stillMissing.join(', ')}`,
    )
}

/**
 * Try with the package lists that are here, and only if that fails (none yet, or so old that the packages they name
 * are gone) fetch new ones and try again.
 */
async function withFreshLists(attempt) {
  const apt = (args, options = {}) => run('apt-get', [...aptBase, ...args], { env: quietEnv, ...options })
  try {
    return await attempt(apt)
  } catch (error) {
    if (!isRoot()) {
      throw new SetupError(
        `${error.message}\n\nPerhaps the package lists are old. Run this, then try again:\n\n  sudo apt-get update\n`,
        2,
      )
    }
    await step('updating the lists of Debian packages', () => apt(['update']))
    return attempt(apt)
  }
}

/**
 * Fetch packages and all that they depend on, as if nothing were installed, without installing anything.
 *
 * @param {readonly string[]} packages
 * @param {string} dir gets the .deb files; emptied first
 * @returns {Promise<string[]>} full paths of the .deb files
 */
export async function fetchWithDependencies(packages, dir) {
  rmSync(dir, { recursive: true, force: true })
  mkdirSync(path.join(dir, 'partial'), { recursive: true })
  // An empty status file: apt takes nothing for installed, so the set of files is the same on every machine.
  const status = path.join(dir, 'empty-status')
  writeFileSync(status, '')
  const options = [
    'Dir::State::status',
    status,
    'Dir::Cache::archives',
    dir,
    'Dir::Cache::pkgcache',
    '',
    'Dir::Cache::srcpkgcache',
    '',
    'Debug::NoLocking',
    '1',
  ]
  const flags = []
  for (let i = 0; i < options.length; i += 2) flags.push('-o', `${options[i]}=${options[i + 1]}`)
  await withFreshLists((apt) =>
    apt([...flags, '--download-only', '--no-install-recommends', 'install', ...packages]),
  )
  return debsIn(dir)
}

/** The .deb files of a folder, sorted. */
export function debsIn(dir) {
  return readdirSync(dir)
    .filter((name) => name.endsWith('.deb'))
    .sort()
    .map((name) => path.join(dir, name))
}

/** The package's name, from the name of its file. */
export const packageOf = (deb) => path.basename(deb).split('_')[0]

/**
 * Fetch packages alone, without what they depend on.
 *
 * @param {readonly string[]} names
 * @param {string} dir gets the .deb files; emptied first
 * @returns {Promise<string[]>} full paths of the .deb files
 */
export async function fetchPackages(names, dir) {
  rmSync(dir, { recursive: true, force: true })
  mkdirSync(dir, { recursive: true })
  await withFreshLists((apt) => apt(['download', ...names], { cwd: dir }))
  const debs = debsIn(dir)
  if (debs.length !== names.length)
    throw new SetupError(`apt-get download ${names.join(' ')} brought ${debs.length} files`)
  return debs
}

/** The package that a meta package stands for: its first dependency that begins with `prefix`. */
export async function resolveMetaPackage(meta, prefix) {
  return withFreshLists(async () => {
    const { stdout } = await run('apt-cache', ['depends', meta], { env: quietEnv })
    const line = stdout.split('\n').find((text) => text.includes(`Depends: ${prefix}`))
    if (line === undefined) throw new SetupError(`apt-cache knows no package behind ${meta}`)
    return line.slice(line.indexOf(prefix)).trim()
  })
}

/** Unpack a package's files, keeping links such as /lib -> usr/lib that lie in `dir` already. */
export async function unpackPackage(deb, dir) {
  mkdirSync(dir, { recursive: true })
  await run('sh', [
    '-c',
    'set -e; dpkg-deb --fsys-tarfile "$1" | tar -x --keep-directory-symlink --no-same-owner -C "$2"',
    'unpack',
    deb,
    dir,
  ])
}
