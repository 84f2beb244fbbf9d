// `npm test`: set-up, lint, the addon's own tests under sanitizers, then every test of test/ with node:test.
//   npm test -- --only guest         a folder of test/, "unit" for those that need no daemon, "lint", "native", or part of a path
//   npm test -- --name 'sqlite'      only tests whose name matches (node's --test-name-pattern)
import { spawn } from 'node:child_process'
import { existsSync } from 'node:fs'
import path from 'node:path'
import { parseArgs } from 'node:util'
import { filesBelow } from './lib/fingerprint.mjs'
import { inRoot, root } from './lib/paths.mjs'
import { run, say, SetupError, step } from './lib/steps.mjs'
import { runMain, setUp } from './setup.mjs'

/** Test files at a time: the guest's takes as long as all others together, so it goes beside them. */
const CONCURRENCY = 2
/** No single test may last longer: a hang must end as a failure before the CI gives up on the whole run. */
const TEST_TIMEOUT_MS = 40 * 60_000
/** These folders of test/ work on a running daemon; all others are units. */
const DAEMON_FOLDERS = [
  'backends',
  'control',
  'crash',
  'frontend',
  'guest',
  'hostile',
  'isolation',
  'memory',
  'model',
  'operations',
  'packaging',
  'passthrough',
  'reload',
  'servers',
  'tracing',
]
/** Node runs files in the order given: the longest first, so that it is not waited for alone at the end. */
const FIRST_FOLDER = 'guest'

await runMain(async () => {
  const { values } = parseArgs({ options: { only: { type: 'string' }, name: { type: 'string' } } })
  const { only, name } = values
  const files = only === 'lint' || only === 'native' ? [] : testFiles(only)
  await setUp('test')
  const failed = []
  if (only === undefined || only === 'lint') await stage(failed, 'lint', lint)
  if (only === undefined || only === 'native')
    await stage(failed, 'native tests under sanitizers', nativeTests)
  if (failed.length > 0) say(`FAILED: ${failed.join(', ')} (see above); this run will end with an error`)
  // The runner's summary closes the output, so nothing is printed after it.
  const testsPassed = files.length === 0 || (await runTests(files, name))
  if (failed.length > 0 || !testsPassed) process.exitCode = 1
})

/** The test files that `only` names, as sources relative to the root, in the order to run them in. */
function testFiles(only) {
  const all = filesBelow('test', (file) => file.endsWith('.test.ts'))
  const folderOf = (file) => file.split(path.sep)[1]
  const folders = new Set(all.map(folderOf))
  const wanted = all.filter((file) => {
    if (only === undefined) return true
    if (only === 'unit') return !DAEMON_FOLDERS.includes(folderOf(file))
    return folders.has(only) ? folderOf(file) === only : file.includes(only)
  })
  if (wanted.length === 0)
    throw new SetupError(`no test file matches ${only}; there are the folders ${[...folders].join(', ')}`, 2)
  const rank = (file) => (folderOf(file) === FIRST_FOLDER ? 0 : 1)
  return wanted.sort((a, b) => rank(a) - rank(b))
}

/** Run one stage; a failure is shown and remembered, and the next stage runs all the same. */
async function stage(failed, name, work) {
  try {
    await step(name, work)
  } catch (error) {
    if (!(error instanceof SetupError)) throw error
    process.stdout.write(`${error.message}\n`)
    failed.push(name)
  }
}

async function lint() {
  const bin = (packageName, file) => inRoot('node_modules', packageName, file)
  // Set-up has run tsc already: without a clean compile there is nothing to test.
  const eslint = run(process.execPath, [bin('eslint', 'bin/eslint.js'), '.'], { cwd: root })
  const prettier = run(process.execPath, [bin('prettier', 'bin/prettier.cjs'), '--check', '.'], { cwd: root })
  const failures = (await Promise.allSettled([eslint, prettier])).filter(
    ({ status }) => status === 'rejected',
  )
  if (failures.length > 0) throw new SetupError(failures.map(({ reason }) => reason.message).join('\n\n'))
}

async function nativeTests() {
  if (!existsSync(inRoot('native/test/Makefile'))) return
  const { output } = await run(
    'make',
    ['-C', inRoot('native/test'), '--jobs=2', '--no-print-directory', 'check'],
    { cwd: root },
  )
  say(`native: ${output.trimEnd().split('\n').at(-1)}`)
}

/** Run the compiled tests; resolves with whether all passed. */
async function runTests(files, name) {
  say(`running ${files.length} test files`)
  const compiled = files.map((file) => inRoot('dist', file.replace(/\.ts$/, '.js')))
  const args = [
    '--enable-source-maps',
    '--test',
    '--test-reporter=spec',
    `--test-concurrency=${CONCURRENCY}`,
    `--test-timeout=${TEST_TIMEOUT_MS}`,
  ]
  if (name !== undefined) args.push(`--test-name-pattern=${name}`)
  const child = spawn(process.execPath, [...args, ...compiled], {
    cwd: root,
    stdio: ['ignore', 'inherit', 'inherit'],
  })
  for (const signal of ['SIGINT', 'SIGTERM']) process.on(signal, () => child.kill(signal))
  const code = await new Promise((resolve) => child.once('close', resolve))
  return code === 0
}
