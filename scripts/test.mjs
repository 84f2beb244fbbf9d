// `npm test`: set-up, lint, the addon's own tests under sanitizers, then every test of test/ with node:test.
//   npm test -- guest                 the tests whose path below test/ has "guest" in it, or "lint", or "native"
//   npm test -- --name 'sqlite'       only tests whose name matches (node's --test-name-pattern)
//   npm run test:unit -- cache/comm   of the tests that need only the compiler, those of that path
// Only what the chosen tests need is set up: test/unit the build, test/daemon the front-end's addon, test/servers the
// storage servers, test/guest the guest too.
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
/** The folders of test/ with tests, by what those need, the least first; each needs what those before it need, too. */
const KINDS = ['unit', 'daemon', 'servers', 'guest']
const STAGES = ['lint', 'native']
/** Node runs files in the order given: the longest first, so that it is not waited for alone at the end. */
const FIRST_KIND = 'guest'

await runMain(async () => {
  const { values, positionals } = parseArgs({
    allowPositionals: true,
    options: { below: { type: 'string', default: '' }, name: { type: 'string' } },
  })
  const { below, name } = values
  const isAll = positionals.length === 0
  const stages = STAGES.filter((stage) => (isAll && below === '') || positionals.includes(stage))
  const parts = positionals.filter((part) => !STAGES.includes(part))
  const files = isAll || parts.length > 0 ? testFiles(below, parts) : []
  await setUp(KINDS.findLast((kind) => files.some((file) => kindOf(file) === kind)) ?? 'build')
  const failed = []
  if (stages.includes('lint')) await stage(failed, 'lint', lint)
  if (stages.includes('native')) await stage(failed, 'native tests under sanitizers', nativeTests)
  if (failed.length > 0) say(`FAILED: ${failed.join(', ')} (see above); this run will end with an error`)
  // The runner's summary closes the output, so nothing is printed after it.
  const testsPassed = files.length === 0 || (await runTests(files, name))
  if (failed.length > 0 || !testsPassed) process.exitCode = 1
})

function kindOf(file) {
  return file.split(path.sep)[1]
}

/** The test files of the folder `below` of test/ whose paths have one of `parts` in them, in the order to run them in. */
function testFiles(below, parts) {
  const folder = path.join('test', below, path.sep)
  const all = filesBelow('test', (file) => file.endsWith('.test.ts')).filter((file) =>
    file.startsWith(folder),
  )
  const isWanted = (file) =>
    parts.length === 0 || parts.some((part) => file.slice('test/'.length).includes(part))
  const wanted = all.filter(isWanted)
  if (wanted.length === 0)
    throw new SetupError(
      `no test below ${folder} has ${parts.join(' or ')} in its path; there are ${KINDS.join(', ')}, ${STAGES.join(' and ')}`,
      2,
    )
  const rank = (file) => (kindOf(file) === FIRST_KIND ? 0 : 1)
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
