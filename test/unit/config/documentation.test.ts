/** CONFIGURATION.md and ovfsd.example.toml name every key, with the defaults that the code has. */
import assert from 'node:assert/strict'
import { readFileSync } from 'node:fs'
import { describe, it } from 'node:test'
import { parse as parseToml } from 'smol-toml'
import * as v from 'valibot'
import { diffSettings, loadSettings, parseSettings } from '../../../src/config/index.js'
import {
  PROFILE_KEY_NAMES,
  profileSchema,
  SERVER_KEY_NAMES,
  serverSchema,
} from '../../../src/config/schema.js'
import { delaySchema, faultSchema, throttleSchema } from '../../../src/config/interpose.js'
import { SERVICES } from '../../../src/config/services.js'
import {
  TRACE_FILTER_KEY_NAMES,
  traceFilterSchema,
  TRACING_KEY_NAMES,
  tracingSchema,
} from '../../../src/config/tracing.js'

// dist/test/unit/config/ -> the package's root
const root = new URL('../../../../', import.meta.url)
const EXAMPLE = new URL('ovfsd.example.toml', root).pathname
const documentation = readFileSync(new URL('CONFIGURATION.md', root), 'utf8')

/** The cells of the table rows in a section, by the name in the first cell. */
function rows(heading: string): Map<string, string[]> {
  const section = documentation.split(/^#+ /m).find((part) => part.startsWith(heading)) ?? ''
  const result = new Map<string, string[]>()
  for (const line of section.split('\n')) {
    const cells = line.split('|').map((cell) => cell.trim())
    const name = /^`([a-z_0-9-]+)`$/.exec(cells[1] ?? '')?.[1]
    if (name !== undefined) result.set(name, cells.slice(1, -1))
  }
  return result
}

const serverRows = rows('`[ovfsd_settings]`')
const profileRows = rows('`[profiles.NAME]`')
const tracingRows = rows('`[tracing]`')
const filterRows = rows('`[[tracing.filters]]`')
const serviceRows = rows('Services')

/** The rules of interposers, each kind with a table of its own. */
function interposeTables(): (readonly [Map<string, string[]>, Entries])[] {
  return [
    [rows('`[[profiles.NAME.interpose.fault]]`'), faultSchema.entries],
    [rows('`[[profiles.NAME.interpose.delay]]`'), delaySchema.entries],
    [rows('`[profiles.NAME.interpose.throttle]`'), throttleSchema.entries],
  ]
}

type Entries = Readonly<Record<string, v.GenericSchema>>
const serverEntries: Entries = serverSchema.entries
const profileEntries: Entries = profileSchema.entries
const tables = [
  [serverRows, serverEntries],
  [profileRows, profileEntries],
  [tracingRows, tracingSchema.entries as Entries],
  [filterRows, traceFilterSchema.entries as Entries],
  ...interposeTables(),
] as const

describe('CONFIGURATION.md', () => {
  it('has tables that are made of the schema', async () => {
    const tool = new URL('scripts/lib/key-tables.mjs', root).href
    const { withKeyTables } = (await import(tool)) as { withKeyTables: (text: string) => Promise<string> }
    assert.equal(documentation, await withKeyTables(documentation), 'npm run docs makes them anew')
    const damaged = documentation.replace('`"50us"`', '`"51us"`')
    assert.equal(await withKeyTables(damaged), documentation)
  })

  it('has every key and no other', () => {
    assert.deepEqual([...serverRows.keys()].sort(), [...SERVER_KEY_NAMES].sort())
    assert.deepEqual([...profileRows.keys()].sort(), [...PROFILE_KEY_NAMES].sort())
    assert.deepEqual([...tracingRows.keys()], Object.keys(tracingSchema.entries))
    assert.deepEqual([...filterRows.keys()], TRACE_FILTER_KEY_NAMES)
    for (const key of [...TRACING_KEY_NAMES, ...TRACE_FILTER_KEY_NAMES])
      assert.match(documentation, new RegExp(`\\*\\*\`${key}\`\\*\\*`), `${key} is not explained`)
    for (const key of [...SERVER_KEY_NAMES, ...PROFILE_KEY_NAMES.filter((name) => name !== 'type')]) {
      assert.match(documentation, new RegExp(`^- .*\\*\\*\`${key}\`\\*\\*`, 'm'), `${key} is not explained`)
    }
    for (const [table, entries] of interposeTables()) {
      assert.deepEqual([...table.keys()], Object.keys(entries))
      for (const key of table.keys())
        assert.match(documentation, new RegExp(`^- .*\\*\\*\`${key}\`\\*\\*`, 'm'), `${key} is not explained`)
    }
  })

  for (const [table, entries] of tables) {
    for (const [key, entry] of Object.entries(entries)) {
      it(`has the default of ${key}`, () => {
        const written = table.get(key)?.[2] ?? ''
        const value = defaultOf(entry)
        if (value !== undefined) assert.equal(written, `\`${JSON.stringify(value)}\``)
        else if (entry.type === 'optional')
          assert.match(written, /^(all(;.*)?|none|no (end|limit)|required with .*|that of .*|half of .*)$/)
        else assert.equal(written, '(required)')
      })
    }
  }

  for (const [table, schemas] of tables) {
    for (const [key, cells] of table) {
      const [, min, max] = /^`([^`]+)` to `([^`]+)`$/.exec(cells[3] ?? '') ?? []
      const schema = schemas[key]
      if (min === undefined || max === undefined || schema === undefined) continue
      it(`has the range of ${key}`, () => {
        const accepts = (text: string): boolean => v.safeParse(schema, valueOf(text)).success
        assert.ok(accepts(min), min)
        assert.ok(accepts(max), max)
        // Modes and "0" have nothing below.
        const [below, above] = [next(min, -1), next(max, 1)]
        if (below !== undefined) assert.ok(!accepts(below), `${below} should be out of range`)
        if (above !== undefined) assert.ok(!accepts(above), `${above} should be out of range`)
      })
    }
  }

  it('says of each setting whether it needs a restart', () => {
    const text = (line: string): string =>
      `[ovfsd_settings]\n${line.startsWith('socket_path') ? '' : 'socket_path = "/s"\n'}${line}\n[profiles.m]\ntype = "memory"\nmount_point = "m"`
    const others: Readonly<Record<string, string>> = {
      socket_path: '"/other"',
      socket_mode: '"0660"',
      socket_users: '"root"',
      socket_groups: '"kvm"',
      enabled_cache: 'false',
      enabled_cache_write_back: 'true',
      enabled_cache_expiration: 'false',
      cache_expiration_time: '"1s"',
      cache_size: '"1GiB"',
      cache_dir: '"/cache"',
      cache_dir_size: '"1GiB"',
      cache_dir_durability: '"process"',
      dirty_expire: '"1s"',
      dirty_max: '"2MiB"',
      max_open_handles: '100',
      max_inodes: '2000',
      request_queues: '1',
      poll_window: '"0"',
      log_level: '"warn"',
      guest_writeback: 'true',
      wait_for_reconnect: 'false',
      shutdown_timeout: '"1s"',
      reload_grace: '"1s"',
      request_metrics: 'false',
      metrics_address: '"127.0.0.1:1"',
      control_socket: '"/c"',
      access_log: '"/a"',
    }
    for (const [key, cells] of serverRows) {
      // Which profiles are mounted shows in the mounts, not in a setting.
      if (key === 'enabled_services') continue
      const { needRestart, live } = diffSettings(
        parseSettings(text(''), 'before'),
        parseSettings(text(`${key} = ${others[key] ?? ''}`), 'after'),
      )
      assert.equal(needRestart.length + live.length, 1, key)
      assert.equal(cells[4], needRestart.length === 1 ? 'yes' : 'no', key)
    }
  })

  it('has every service with what it requires', () => {
    assert.deepEqual([...serviceRows.keys()], [...SERVICES.keys()])
    for (const [type, service] of SERVICES) {
      const required = service.required
        .map((group) => group.map((name) => `\`${name}\``).join(' or '))
        .join(' ')
      assert.equal(serviceRows.get(type)?.[1], required, type)
      for (const name of Object.keys(service.options ?? {})) {
        assert.ok(documentation.includes(`\`${name}\``), `${type}: ${name}`)
      }
    }
  })
})

describe('ovfsd.example.toml', () => {
  const example = parseToml(readFileSync(EXAMPLE, 'utf8')) as {
    ovfsd_settings: Record<string, unknown>
    profiles: { local: Record<string, unknown> }
    tracing: Record<string, unknown>
  }

  it('is accepted', () => {
    assert.equal(loadSettings(EXAMPLE).mounts.length, 2)
  })

  it('has every key, at its default', () => {
    assert.deepEqual(Object.keys(example.ovfsd_settings).sort(), [...SERVER_KEY_NAMES].sort())
    assert.deepEqual(Object.keys(example.profiles.local).sort(), [...PROFILE_KEY_NAMES, 'root'].sort())
    assert.deepEqual(Object.keys(example.tracing).sort(), [...TRACING_KEY_NAMES].sort())
    for (const [table, entries] of [
      [example.tracing, tracingSchema.entries as Entries],
      [example.ovfsd_settings, serverEntries],
      [example.profiles.local, profileEntries],
    ] as const) {
      for (const [key, entry] of Object.entries(entries)) {
        const value = defaultOf(entry)
        if (value !== undefined) assert.equal(table[key], value, key)
      }
    }
  })
})

/** A value as the tables write it: text in quotes, a number, or a duration or size. */
function valueOf(text: string): string | number {
  if (text.startsWith('"')) return JSON.parse(text) as string
  return /^-?\d+(\.\d+)?$/.test(text) ? Number(text) : text
}

/** The value one past `text`, in its unit. */
function next(text: string, step: number): string | undefined {
  const [, digits, unit] = /^(\d+)([a-zA-Z]*)$/.exec(text) ?? []
  return digits === undefined || unit === undefined ? undefined : `${Number(digits) + step}${unit}`
}

function defaultOf(entry: object): unknown {
  return 'default' in entry ? entry.default : undefined
}
