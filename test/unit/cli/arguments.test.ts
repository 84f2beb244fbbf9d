import assert from 'node:assert/strict'
import { describe, it } from 'node:test'
import { HELP, parseArguments, UsageError } from '../../../src/cli/arguments.js'

const A_TOML = { configFile: 'a.toml', overrides: {}, remarks: [] }

describe('the command line', () => {
  const good: readonly (readonly [readonly string[], object])[] = [
    [['--help'], { kind: 'help' }],
    [['-h'], { kind: 'help' }],
    [['--bogus', '--help'], { kind: 'help' }],
    [['--version'], { kind: 'version' }],
    [['-V'], { kind: 'version' }],
    [['--print-capabilities'], { kind: 'capabilities' }],
    [['--config-file=a.toml'], { kind: 'run', ...A_TOML }],
    [['--config-file', 'a.toml'], { kind: 'run', ...A_TOML }],
    [['--check', '--config-file=a.toml'], { kind: 'check', connect: false, ...A_TOML }],
    [['--check', '--connect', '--config-file=a.toml'], { kind: 'check', connect: true, ...A_TOML }],
    [
      ['--config-file=a.toml', '--socket-path=/s', '--log-level=debug'],
      { kind: 'run', ...A_TOML, overrides: { socketPath: '/s', logLevel: 'debug' } },
    ],
  ]
  for (const [args, command] of good) {
    it(`understands ${args.join(' ')}`, () => {
      assert.deepEqual(parseArguments(args), command)
    })
  }

  const bad: readonly (readonly [readonly string[], string])[] = [
    [[], '--config-file=FILE is missing, or --shared-dir=DIR'],
    [['--check'], '--config-file=FILE is missing, or --shared-dir=DIR'],
    [['--connect', '--config-file=a.toml'], '--connect is for use with --check'],
    [['--chek'], 'unknown option "--chek"; did you mean "--check"?'],
    [['--configfile=x'], 'unknown option "--configfile"; did you mean "--config-file"?'],
    [['--no-check'], 'unknown option "--no-check"; did you mean "--check"?'],
    [['-x'], 'unknown option "-x"'],
    [['--constructor'], 'unknown option "--constructor"'],
    [['a.toml'], 'unexpected argument "a.toml"'],
    [['--', '--help'], 'unexpected argument "--help"'],
    [['--config-file'], '--config-file needs a value: --config-file=...'],
    [['--config-file='], '--config-file needs a value: --config-file=...'],
    [['--check=yes'], '--check takes no value'],
    [
      ['--config-file=a', '--log-level=loud'],
      '--log-level: expected "silent", "fatal", "error", "warn", "info", "debug" or "trace", found the string "loud"',
    ],
    [
      ['--config-file=a', `--socket-path=${'x'.repeat(108)}`],
      '--socket-path: is 108 bytes long; Linux allows the path of a socket 107, so choose a shorter one',
    ],
  ]
  for (const [args, message] of bad) {
    it(`refuses ${args.join(' ').slice(0, 50)}`, () => {
      assert.throws(() => parseArguments(args), new UsageError(message))
    })
  }

  it('is explained whole, in eighty columns', () => {
    for (const option of [
      '--config-file',
      '--check',
      '--socket-path',
      '--log-level',
      '--help',
      '--version',
      '--shared-dir',
      '--fd',
      '--socket-group',
      '--cache',
      '--xattr',
      '--allow-direct-io',
      '--readonly',
      '--writeback',
      '--rlimit-nofile',
      '--syslog',
      '--print-capabilities',
      '-o',
      '-d',
    ]) {
      assert.ok(
        HELP.includes(`  ${option}`) || HELP.includes(` ${option} `) || HELP.includes(`${option}=`),
        option,
      )
    }
    for (const line of HELP.split('\n')) assert.ok(line.length <= 80, line)
  })
})
