// Rust's virtiofsd, which Debian 12 has no package of: built by cargo, where that is installed and reaches its registry.
import { existsSync, rmSync } from 'node:fs'
import path from 'node:path'
import { findCommand } from './debian.mjs'
import { fingerprint, readStamp, writeStamp } from './fingerprint.mjs'
import { unpackTree } from './package-tree.mjs'
import { cacheDir } from './paths.mjs'
import { run, SetupError, step } from './steps.mjs'

const VERSION = '1.14.0'
/** Besides the C library it is linked with these alone. */
const LIBRARY_PACKAGES = ['libcap-ng-dev', 'libseccomp-dev']
const LIBRARY_DIR = 'usr/lib/x86_64-linux-gnu'

const home = path.join(cacheDir, 'rust-virtiofsd')
const librariesRoot = path.join(home, 'libraries')
const libraryDir = path.join(librariesRoot, LIBRARY_DIR)

export const RUST_VIRTIOFSD = path.join(home, 'bin/virtiofsd')
/** All of its environment: it finds the libraries that it was linked with. */
export const rustVirtiofsdEnvironment = {
  PATH: process.env.PATH ?? '',
  LC_ALL: 'C',
  LD_LIBRARY_PATH: libraryDir,
}

/**
 * Build it, unless that is done: some three minutes on two CPUs.
 *
 * @returns {Promise<string | null>} why there is none, in one sentence; null where it can be started
 */
export async function ensureRustVirtiofsd() {
  const stampFile = path.join(home, '.stamp')
  const key = fingerprint([], VERSION, ...LIBRARY_PACKAGES)
  if (readStamp(stampFile) === key && existsSync(RUST_VIRTIOFSD)) return null
  const cargo = findCommand('cargo')
  if (cargo === null) return 'there is no cargo to build it with'
  try {
    await step("building Rust's virtiofsd", () => build(cargo))
  } catch (error) {
    if (!(error instanceof SetupError)) throw error
    return `building it failed: ${lastError(error.message)}`
  }
  writeStamp(stampFile, key)
  return null
}

async function build(cargo) {
  const needed = ['libcap-ng.so', 'libseccomp.so'].map((name) => path.join(LIBRARY_DIR, name))
  await unpackTree(LIBRARY_PACKAGES, librariesRoot, needed)
  // Kept when the build fails or is interrupted, so that the next one goes on from there.
  const target = path.join(home, 'target')
  const env = { ...process.env, RUSTFLAGS: `-L native=${libraryDir}`, CARGO_TARGET_DIR: target }
  const crate = ['virtiofsd', '--version', VERSION, '--locked']
  await run(cargo, ['install', ...crate, '--root', home, '--force'], { env })
  rmSync(target, { recursive: true, force: true })
}

/** cargo's first line that says what is wrong, or else the last one of all. */
export function lastError(output) {
  const lines = output.split('\n').filter((line) => line.trim() !== '')
  return (lines.find((line) => line.startsWith('error')) ?? lines.at(-1) ?? 'it said nothing').trim()
}
