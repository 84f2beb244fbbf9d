// npm runs this after it has unpacked the package. The package has the addon for the platform that it was packed on, which every Node.js
// of that platform can load; elsewhere it is compiled here. Then V8's code is made for this Node.js. A start works without this script
// where the addon does, and takes longer.
import { spawnSync } from 'node:child_process'
import { existsSync } from 'node:fs'
import path from 'node:path'
import { fileURLToPath } from 'node:url'

const root = fileURLToPath(new URL('..', import.meta.url))
const ADDON = path.join(root, 'native/build/Release/ovfsd_native.node')
const CODE_CACHE_SCRIPT = fileURLToPath(new URL('./lib/code-cache.mjs', import.meta.url))

// A clone is built by `npm run build`.
if (!existsSync(path.join(root, 'src'))) install()

function install() {
  if (!addonLoads() && !buildAddon()) {
    process.stderr.write(
      'ovfsd: the native addon could not be built: it needs Linux, a C++20 compiler, make and python3\n',
    )
    process.exitCode = 1
    return
  }
  // A failure costs time at the start and nothing else.
  spawnSync(process.execPath, [CODE_CACHE_SCRIPT], { stdio: 'ignore' })
}

function addonLoads() {
  try {
    process.dlopen({ exports: {} }, ADDON)
    return true
  } catch {
    return false
  }
}

function buildAddon() {
  // npm says where its own node-gyp is.
  const gyp = process.env.npm_config_node_gyp
  const [command, ...args] = gyp === undefined ? ['node-gyp'] : [process.execPath, gyp]
  const { status } = spawnSync(command, [...args, 'rebuild', `--directory=${path.join(root, 'native')}`], {
    stdio: 'inherit',
  })
  return status === 0
}
