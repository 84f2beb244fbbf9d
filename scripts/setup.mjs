// Set-up for a fresh clone: `node scripts/setup.mjs build|demo|unit|daemon|servers|guest|test`. Every step looks first whether it is done.
import path from 'node:path'
import { pathToFileURL } from 'node:url'
import { ensureBundle } from './lib/bundle.mjs'
import { ensureCommands } from './lib/debian.mjs'
import { ensureGuestImage } from './lib/guest-image.mjs'
import { checkNodeVersion, ensureAddon, ensureNpmPackages, ensureTypeScript } from './lib/node-build.mjs'
import { cacheDir } from './lib/paths.mjs'
import { ensureServers } from './lib/servers.mjs'
import { say, SetupError, withLock } from './lib/steps.mjs'

const BUILD_COMMANDS = ['g++', 'make', 'python3']
const GUEST_COMMANDS = ['qemu-system-x86_64', 'cpio', 'depmod', 'readelf', 'setpriv']
const TEST_COMMANDS = ['git', 'strace']

/** @typedef {'build' | 'demo' | 'unit' | 'daemon' | 'servers' | 'guest' | 'test'} Target */
/** @typedef {{ commands: string[], guest: boolean, testAddon: boolean, servers: boolean }} Needs */

const TESTS_NEED = {
  commands: [...BUILD_COMMANDS, ...TEST_COMMANDS],
  guest: false,
  testAddon: false,
  servers: false,
}

const ALL_TESTS_NEED = {
  commands: [...TESTS_NEED.commands, ...GUEST_COMMANDS],
  guest: true,
  testAddon: true,
  servers: true,
}

/**
 * What each target needs: the daemon alone, the daemon and a guest to show it with, or what the tests below one of the
 * folders of test/ use.
 *
 * @type {Record<Target, Needs>}
 */
const TARGETS = {
  build: { commands: BUILD_COMMANDS, guest: false, testAddon: false, servers: false },
  demo: { commands: [...BUILD_COMMANDS, ...GUEST_COMMANDS], guest: true, testAddon: false, servers: false },
  unit: TESTS_NEED,
  daemon: { ...TESTS_NEED, testAddon: true },
  servers: { ...TESTS_NEED, testAddon: true, servers: true },
  guest: ALL_TESTS_NEED,
  test: ALL_TESTS_NEED,
}

/**
 * Bring this clone to where `target` can run. Throws SetupError with a message for the user.
 *
 * @param {Target} target
 */
export async function setUp(target) {
  const needs = TARGETS[target]
  checkNodeVersion()
  await withLock(path.join(cacheDir, 'setup.lock'), async () => {
    await ensureCommands(needs.commands)
    await ensureNpmPackages()
    await ensureAddon('native', 'the native addon')
    if (needs.testAddon) await ensureAddon('test/frontend/native', "the test front-end's addon", ['native'])
    await ensureTypeScript()
    await ensureBundle()
    if (needs.guest) await ensureGuestImage()
    if (needs.servers) await ensureServers()
  })
}

/**
 * Run a script's main function: a SetupError ends it with its message and exit code, anything else with a stack trace.
 *
 * @param {() => Promise<void>} main
 */
export async function runMain(main) {
  try {
    await main()
  } catch (error) {
    process.stdout.write('\n')
    process.stderr.write(error instanceof SetupError ? `${error.message}\n` : `${error.stack ?? error}\n`)
    process.exitCode = error instanceof SetupError ? error.exitCode : 1
  }
}

if (process.argv[1] && import.meta.url === pathToFileURL(process.argv[1]).href) {
  await runMain(async () => {
    const target = process.argv[2] ?? 'build'
    if (!Object.hasOwn(TARGETS, target))
      throw new SetupError(`usage: node scripts/setup.mjs ${Object.keys(TARGETS).join('|')}`, 2)
    await setUp(target)
    say(`ready: ${target}`)
  })
}
