/**
 * What the documents show is so: their configurations are accepted, their commands are ones that the daemon takes, and what is shown
 * as a dialogue is run.
 */
import assert from 'node:assert/strict'
import { execFileSync, spawnSync } from 'node:child_process'
import {
  existsSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  readdirSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { describe, it, type TestContext } from 'node:test'
import { fileURLToPath } from 'node:url'
import { parseArguments } from '../../../src/cli/arguments.js'
import { parseSettings } from '../../../src/config/index.js'
import { promtool } from '../prometheus.js'

// dist/test/servers/packaging/ -> the package's root
const root = fileURLToPath(new URL('../../../../', import.meta.url))

interface Block {
  readonly language: string
  readonly text: string
}

const documents = ['', 'docs', 'docs/guides', 'packaging', 'bench', 'native']
  .concat(['frontend', 'guest', 'servers'].map((name) => `test/${name}`))
  .flatMap((folder) =>
    readdirSync(join(root, folder))
      .filter((name) => name.endsWith('.md'))
      .map((name) => join(folder, name)),
  )

const sources = ['bench', 'bin', 'native', 'packaging', 'scripts', 'src', 'test'].flatMap((folder) =>
  readdirSync(join(root, folder), { recursive: true, encoding: 'utf8' }).map((file) => join(folder, file)),
)

/** Documents leave out the beginning of a path. */
function isSource(name: string): boolean {
  return sources.some((file) => file === name || file.endsWith(`/${name}`))
}

function blocks(text: string): Block[] {
  return [...text.matchAll(/^```([a-z]*)\n([^]*?)^```$/gm)].map(([, language = '', body = '']) => ({
    language,
    text: body,
  }))
}

/** The lines of a shell's script that start the daemon, continued lines joined. */
function daemonCommands(script: string): string[][] {
  return script
    .replaceAll(/\\\n\s*/g, ' ')
    .split('\n')
    .filter((line) => /^(\$ )?(bin\/)?ovfsd(\.cjs)? /.test(line))
    .map((line) => line.replace(/^\$ /, '').replace(/ &$/, '').split(/\s+/).slice(1))
}

function temporaryDirectory(test: TestContext): string {
  const directory = mkdtempSync(join(tmpdir(), 'ovfsd-documents-'))
  test.after(() => {
    rmSync(directory, { recursive: true })
  })
  return directory
}

const CHECKS: Readonly<Record<string, (text: string, test: TestContext) => void>> = {
  sh: (text) => {
    assert.equal(spawnSync('bash', ['-n'], { input: text, encoding: 'utf8' }).stderr, '')
    for (const args of daemonCommands(text)) parseArguments(args)
  },
  json: (text) => {
    JSON.parse(text)
  },
  xml: (text) => {
    execFileSync('python3', ['-c', 'import sys, xml.dom.minidom as dom; dom.parse(sys.stdin)'], {
      input: text,
    })
  },
  toml: (text) => {
    // A mistake that is to be shown is shown in a dialogue, which is run.
    if (!text.startsWith('# bad')) parseSettings(text, 'the document', { socketPath: '/s' })
  },
  ini: verifyDropIn,
  yaml: checkPrometheusConfiguration,
}

/** Other programs' files can't be looked at here: their guides say that they were not run. */
function checkPrometheusConfiguration(text: string, test: TestContext): void {
  if (!text.startsWith('# prometheus.yml')) return
  const file = join(temporaryDirectory(test), 'prometheus.yml')
  writeFileSync(file, text)
  const { status, stdout, stderr } = spawnSync(promtool, ['check', 'config', file], { encoding: 'utf8' })
  assert.equal(status, 0, `${stdout}${stderr}`)
}

/** A drop-in for a unit that comes with us: the socket's, or the daemon's. */
function verifyDropIn(text: string, test: TestContext): void {
  if (spawnSync('systemd-analyze', ['--version']).status !== 0) return
  const directory = temporaryDirectory(test)
  const changed = text.includes('[Socket]') ? 'ovfsd@.socket' : 'ovfsd.service'
  for (const name of ['ovfsd.service', 'ovfsd@.service', 'ovfsd@.socket']) {
    const unit = readFileSync(join(root, 'packaging/systemd', name), 'utf8')
    const shown = unit.replace('/usr/local/bin/ovfsd', '/bin/true')
    writeFileSync(join(directory, name), name === changed ? `${shown}\n${text}` : shown)
  }
  const { stderr } = spawnSync('systemd-analyze', ['verify', `./${changed.replace('@', '@vm')}`], {
    cwd: directory,
    encoding: 'utf8',
  })
  assert.equal(stderr, '')
}

/** Languages of blocks that are to be typed. */
const COMMANDS: ReadonlySet<string> = new Set(['', 'sh', 'console'])
const { scripts } = JSON.parse(readFileSync(join(root, 'package.json'), 'utf8')) as {
  scripts: Record<string, string>
}

/** Scripts of npm, tests by their paths, and files of ours: compiled ones by their sources. */
function checkCommands(text: string): void {
  for (const [, name = ''] of text.matchAll(/\bnpm run (?:-s )?([\w:-]+)/g))
    assert.ok(scripts[name] !== undefined, `npm run ${name}`)
  for (const [, part = ''] of text.matchAll(/\bnpm (?:test|run test:unit) -- ([a-z][\w/-]*)/g)) {
    const isStage = part === 'lint' || part === 'native'
    const isTest = (file: string): boolean => file.startsWith('test/') && file.includes(part)
    assert.ok(isStage || sources.some(isTest), `a test of ${part}`)
  }
  const folders = 'bench|bin|dist|docs|native|packaging|scripts|src|test'
  for (const [, path = ''] of text.matchAll(
    new RegExp(`(?:^|\\s)((?:${folders})/[\\w./-]*\\w)(?=\\s|$)`, 'gm'),
  )) {
    const source = path.replace(/^dist\/((?:src|test)\/.*)\.js$/, '$1.ts')
    assert.ok(existsSync(join(root, source)), path)
  }
}

for (const file of documents) {
  const text = readFileSync(join(root, file), 'utf8')
  describe(file, () => {
    it('links to what there is', () => {
      const prose = text.replaceAll(/^```[^]*?^```$/gm, '')
      for (const [, target = ''] of prose.matchAll(/\]\(([^)#:\s]+)(?:#[^)]*)?\)/g)) {
        assert.ok(existsSync(join(root, dirname(file), target)), target)
      }
    })

    it('names files of ours that there are', () => {
      for (const [, name = ''] of text.matchAll(/`([\w/-]*[\w-]+\.(?:ts|mjs|cjs|cc|h|sh|py))`/g))
        assert.ok(isSource(name), name)
    })

    it('has commands that there are', () => {
      for (const block of blocks(text)) if (COMMANDS.has(block.language)) checkCommands(block.text)
    })

    for (const [index, block] of blocks(text).entries()) {
      const check = CHECKS[block.language]
      if (check === undefined) continue
      it(`has a good block ${index + 1} (${block.language})`, (test) => {
        check(block.text, test)
      })
    }

    const dialogues = blocks(text).filter(({ language }) => language === 'console')
    if (dialogues.length > 0) {
      it('shows dialogues as they are', (test) => {
        const directory = temporaryDirectory(test)
        mkdirSync(join(directory, 'bin'))
        symlinkSync(join(root, 'bin/ovfsd.cjs'), join(directory, 'bin/ovfsd'))
        for (const { text: toml } of blocks(text).filter(({ language }) => language === 'toml')) {
          // Configurations that the dialogues use begin with their names.
          const name = /^# ([a-z]+\.toml)$/m.exec(toml)?.[1]
          if (name !== undefined) writeFileSync(join(directory, name), toml)
        }
        const env = { ...process.env, PATH: `${join(directory, 'bin')}:${process.env['PATH'] ?? ''}` }
        for (const { text: dialogue } of dialogues) {
          for (const [, command = '', shown = ''] of dialogue.matchAll(/^\$ (.*)\n((?:(?!\$ ).*\n)*)/gm)) {
            const { stdout, stderr } = spawnSync('bash', ['-c', command], {
              cwd: directory,
              env,
              encoding: 'utf8',
            })
            assert.equal(`${stdout}${stderr}`, shown, command)
          }
        }
      })
    }
  })
}
