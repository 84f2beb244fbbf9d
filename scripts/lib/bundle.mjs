// The daemon as one file, with V8's code for it: what bin/ovfsd.cjs starts.
import { existsSync } from 'node:fs'
import path from 'node:path'
import { fileURLToPath } from 'node:url'
import { filesBelow, fingerprint, readStamp, writeStamp } from './fingerprint.mjs'
import { inRoot } from './paths.mjs'
import { run, step } from './steps.mjs'

const BUNDLE = inRoot('dist/bundle/cli/ovfsd.cjs')
const CODE_CACHE_SCRIPT = fileURLToPath(new URL('./code-cache.mjs', import.meta.url))

/** Loaded by few daemons (pretty logs, log-ins of AWS, metrics, traces), and large: they stay what they are. */
const EXTERNAL = [
  '@aws-sdk/credential-providers',
  '@opentelemetry/*',
  'picomatch',
  'pino-pretty',
  'prom-client',
]

/** Bundle what tsc has made of src/. */
export async function ensureBundle() {
  const inputs = [
    ...filesBelow('dist/src', (file) => file.endsWith('.js')),
    'bin/ovfsd.cjs',
    'package-lock.json',
    path.relative(inRoot('.'), CODE_CACHE_SCRIPT),
    path.relative(inRoot('.'), fileURLToPath(import.meta.url)),
  ]
  const stampFile = inRoot('dist/bundle/.stamp')
  // The code is of one version of V8.
  const key = `${fingerprint(inputs)} ${process.versions.v8} ${process.arch}`
  if (readStamp(stampFile) === key && existsSync(BUNDLE)) return
  await step('bundling', async () => {
    // Not at the top: before the first npm install there is none.
    const { build } = await import('esbuild')
    await build({
      entryPoints: [inRoot('dist/src/cli/main.js')],
      outfile: BUNDLE,
      bundle: true,
      platform: 'node',
      target: 'node20',
      format: 'cjs',
      charset: 'ascii',
      external: EXTERNAL,
      // A script of node:vm knows require only.
      supported: { 'dynamic-import': false },
      define: { 'import.meta.url': 'bundleUrl' },
      banner: { js: "const bundleUrl = require('node:url').pathToFileURL(__filename).href;" },
      logLevel: 'warning',
    })
    await run(process.execPath, [CODE_CACHE_SCRIPT], { cwd: inRoot('.') })
  })
  writeStamp(stampFile, key)
}
