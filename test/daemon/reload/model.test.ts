/**
 * Reloads as a state machine: the configuration file is changed at random, by good ones, bad ones and things that are no file, and after
 * each step the guest sees what a model says, while it works on one mount without an error.
 */
import assert from 'node:assert/strict'
import { execFileSync } from 'node:child_process'
import { mkdir, mkdtemp, rename, rm, symlink, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { describe, it, type TestContext } from 'node:test'
import { Reloader, type ReloadReport } from '../../../src/cli/reloader.js'
import { parseSettings } from '../../../src/config/index.js'
import { createLogger } from '../../../src/observability/logger.js'
import { seededRandom, type Random } from '../../lib/config/random.js'
import { codeOf } from '../../frontend/fuse-client.js'
import { serve, type Served } from '../../support/served.js'
import { directoryStore } from '../../support/stores.js'

const STEPS = 60
const NAMES = ['a', 'b', 'c'] as const

interface ModelMount {
  readonly place: string
  readonly root: string
  readonly isReadOnly: boolean
}

type Model = ReadonlyMap<string, ModelMount>

/** What the file can be that is no configuration. */
const OBSTACLES: Readonly<Record<string, (file: string) => unknown>> = {
  pipe: (file) => execFileSync('mkfifo', [file]),
  device: (file) => symlink('/dev/zero', file),
  directory: (file) => mkdir(file),
  nothing: () => undefined,
  'no TOML': (file) => writeFile(file, '[profiles.a\n'),
  'a link to nowhere': (file) => symlink('nowhere', file),
  'a missing secret': (file) =>
    writeFile(
      file,
      '[ovfsd_settings]\nsocket_path = "/s"\n[profiles.s]\ntype = "s3"\nmount_point = "s"\nbucket = "b"\nsecret_access_key_file = "/nowhere"\n',
    ),
}
const OBSTACLE_NAMES = Object.keys(OBSTACLES) as [string, ...string[]]

class Machine {
  private model: Model = new Map()
  private readonly file: string
  private readonly reloader: Reloader
  private report: ((report: ReloadReport) => void) | null = null

  constructor(
    private readonly served: Served,
    private readonly directory: string,
    private readonly random: Random,
  ) {
    this.file = join(directory, 'ovfsd.toml')
    this.reloader = new Reloader({
      configFile: this.file,
      overrides: {},
      logger: createLogger({ level: 'silent' }),
      server: served.server,
      // The mount that the guest works on is not in the file: no reload knows it.
      settings: { ...parseSettings(this.text(new Map([['none', anywhere]])), 'f'), mounts: [] },
      onReload: (report) => this.report?.(report),
    })
  }

  async step(): Promise<string> {
    if (this.random.below(3) === 0) {
      const what = this.random.pick(OBSTACLE_NAMES)
      await rm(this.file, { recursive: true, force: true })
      await OBSTACLES[what]?.(this.file)
      assert.equal((await this.reload()).outcome?.outcome, 'refused', what)
      return what
    }
    const next = this.change()
    await rm(this.file, { recursive: true, force: true })
    await writeFile(`${this.file}.new`, this.text(next))
    await rename(`${this.file}.new`, this.file)
    assert.equal((await this.reload()).outcome?.outcome, 'applied')
    this.model = next
    return [...next].map((mount) => JSON.stringify(mount)).join(' ')
  }

  private reload(): Promise<ReloadReport> {
    return new Promise((resolve) => {
      this.report = resolve
      this.reloader.request('test', true)
    })
  }

  /** One mount comes, goes, moves, gets another store, or becomes read-only or writable; never the last one goes. */
  private change(): Model {
    const next = new Map(this.model)
    const name = this.random.pick(NAMES)
    const present = next.get(name)
    if (present === undefined) next.set(name, this.newMount(name))
    else if (this.random.below(4) === 0 && next.size > 1) next.delete(name)
    else {
      const { place, root, isReadOnly } = present
      next.set(
        name,
        this.random.pick([
          { place: `${name}${this.random.below(3)}`, root, isReadOnly },
          { place, root: this.rootOf(name), isReadOnly },
          { place, root, isReadOnly: !isReadOnly },
        ]),
      )
    }
    return next
  }

  private newMount(name: string): ModelMount {
    return {
      place: `${name}${this.random.below(3)}`,
      root: this.rootOf(name),
      isReadOnly: this.random.below(2) === 0,
    }
  }

  private rootOf(name: string): string {
    return join(this.directory, `${name}-root-${this.random.below(2)}`)
  }

  private text(model: Model): string {
    const profiles = [...model].map(
      ([name, { place, root, isReadOnly }]) =>
        `[profiles.${name}]\ntype = "fs"\nmount_point = "${place}"\nroot = "${root}"\nread_only = ${isReadOnly}\n`,
    )
    return `[ovfsd_settings]\nsocket_path = "/s"\nreload_grace = "1s"\n${profiles.join('')}`
  }

  /** Each mount is in its place and no other is; it leads to its store, and takes writes or not. */
  async check(what: string): Promise<void> {
    const places = [...this.model.values()].map(({ place }) => place)
    assert.deepEqual((await this.served.guestFs('').list('')).sort(), [...places, 'm'].sort(), what)
    for (const [name, { place, root, isReadOnly }] of this.model) {
      const files = this.served.guestFs(place)
      const label = root.slice(this.directory.length)
      await mkdir(root, { recursive: true })
      await writeFile(join(root, `id-${this.random.below(1_000_000)}`), label)
      assert.equal(await codeOf(files.writeFile(name, label)), isReadOnly ? 'EROFS' : 'OK', what)
      if (!isReadOnly) assert.equal(await files.readText(name), label, what)
    }
  }
}

const anywhere: ModelMount = { place: 'none', root: '/', isReadOnly: true }

async function machine(t: TestContext, served: Served): Promise<Machine> {
  const directory = await mkdtemp(join(tmpdir(), 'ovfsd-reload-model-'))
  t.after(() => rm(directory, { recursive: true, force: true }))
  for (const name of NAMES) for (const root of [0, 1]) await mkdir(join(directory, `${name}-root-${root}`))
  return new Machine(served, directory, seededRandom(t))
}

describe('any sequence of configurations', () => {
  it('leads to what the last good one says, and disturbs nobody', async (t) => {
    const served = await serve({ mounts: [{ store: directoryStore }] })
    t.after(() => served.close())
    const files = served.guestFs('m')
    const work = { goesOn: true }
    const writer = (async () => {
      for (let round = 0; work.goesOn; round++) {
        await files.writeFile('busy', `round ${round}`)
        assert.equal(await files.readText('busy'), `round ${round}`)
      }
    })()
    writer.catch(() => undefined)
    try {
      const reloads = await machine(t, served)
      for (let step = 0; step < STEPS; step++) await reloads.check(`step ${step}: ${await reloads.step()}`)
    } finally {
      work.goesOn = false
      await writer
    }
  })
})
