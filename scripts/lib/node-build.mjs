// npm packages, the native addons and the TypeScript.
import { existsSync, readFileSync } from 'node:fs'
import os from 'node:os'
import path from 'node:path'
import { filesBelow, fingerprint, readStamp, writeStamp } from './fingerprint.mjs'
import { inRoot, nodePrefix, root } from './paths.mjs'
import { run, SetupError, step } from './steps.mjs'

/** Stop early, with a plain sentence, on a Node.js that is too old for the project (package.json, engines). */
export function checkNodeVersion() {
  const { engines } = JSON.parse(readFileSync(inRoot('package.json'), 'utf8'))
  const needed = Number.parseInt(engines.node.replace(/\D*/, ''), 10)
  const have = Number.parseInt(process.versions.node, 10)
  if (have < needed) {
    throw new SetupError(
      `ovfsd needs Node.js ${needed} or newer; this is ${process.version} (${process.execPath}).`,
      2,
    )
  }
  if (process.platform !== 'linux') throw new SetupError('ovfsd runs on Linux only.', 2)
}

/**
 * Install the npm packages unless node_modules holds just what package-lock.json says. npm's own record of what it
 * installed is compared, so no stamp can be out of date.
 */
export async function ensureNpmPackages() {
  if (npmPackagesMatch()) return
  // npm gives its own path to the scripts it runs; without it, take the one in PATH.
  const npmScript = process.env.npm_execpath
  const args = ['ci', '--no-audit', '--no-fund', '--include=dev']
  await step('installing npm packages', () =>
    npmScript?.endsWith('.js') && existsSync(npmScript)
      ? run(process.execPath, [npmScript, ...args], { cwd: root })
      : run('npm', args, { cwd: root }),
  )
}

function npmPackagesMatch() {
  const installedFile = inRoot('node_modules/.package-lock.json')
  if (!existsSync(installedFile)) return false
  const wanted = JSON.parse(readFileSync(inRoot('package-lock.json'), 'utf8')).packages
  const installed = JSON.parse(readFileSync(installedFile, 'utf8')).packages
  return Object.entries(wanted).every(([name, { version, optional }]) => {
    if (name === '') return true
    if (installed[name] === undefined) return optional === true
    return installed[name].version === version && existsSync(inRoot(name))
  })
}

/**
 * Build one addon with node-gyp, against the headers that came with the running Node.js: nothing is downloaded.
 *
 * @param {string} dir the folder with binding.gyp, relative to the root
 * @param {string} name how it is called in messages
 * @param {readonly string[]} [sharedDirs] further folders whose sources the addon is built from
 */
export async function ensureAddon(dir, name, sharedDirs = []) {
  if (!existsSync(inRoot(dir, 'binding.gyp'))) return
  const isSource = (file) => /\.(cc|cpp|c|h|hpp|gyp|gypi)$/.test(file)
  const sources = [dir, ...sharedDirs].flatMap((folder) =>
    filesBelow(folder, isSource, ['build', 'test', 'node_modules']),
  )
  const stampFile = inRoot(dir, 'build', '.stamp')
  const abi = `${process.versions.modules} ${process.arch} ${nodePrefix}`
  const key = `${fingerprint([...new Set(sources)])} ${abi}`
  const stamp = readStamp(stampFile)
  if (stamp === key) return
  if (!existsSync(path.join(nodePrefix, 'include/node/node_api.h'))) {
    throw new SetupError(
      `The C++ headers of Node.js are not in ${nodePrefix}/include/node. Install them (they come with the official archives, and with some distributions as a package "libnode-dev" or "nodejs-devel").`,
      2,
    )
  }
  // Another Node.js means other headers: then from scratch. Otherwise make compiles only what changed.
  const commands = stamp.endsWith(abi) ? ['configure', 'build'] : ['rebuild']
  const gyp = inRoot('node_modules/node-gyp/bin/node-gyp.js')
  await step(`building ${name}`, async () => {
    for (const command of commands) {
      await run(
        process.execPath,
        [
          gyp,
          command,
          `--directory=${inRoot(dir)}`,
          `--nodedir=${nodePrefix}`,
          `--jobs=${os.availableParallelism()}`,
        ],
        { cwd: root },
      )
    }
  })
  writeStamp(stampFile, key)
}

/** Compile src/, test/ and bench/ into dist/. */
export async function ensureTypeScript() {
  const isInput = (file) => file.endsWith('.ts')
  const inputs = [
    ...['src', 'test', 'bench'].flatMap((dir) => filesBelow(dir, isInput)),
    'tsconfig.json',
    'package-lock.json',
  ]
  const stampFile = inRoot('dist', '.stamp')
  const key = fingerprint(inputs)
  if (readStamp(stampFile) === key) return
  await step('compiling the TypeScript', () =>
    run(process.execPath, [inRoot('node_modules/typescript/bin/tsc'), '--project', inRoot('tsconfig.json')], {
      cwd: root,
    }),
  )
  writeStamp(stampFile, key)
}
