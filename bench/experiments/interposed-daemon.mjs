// One daemon whose mounts are made to misbehave: its configuration file is written anew and loaded again.
import { renameSync, writeFileSync } from 'node:fs'
import path from 'node:path'
import { startConfigured } from '../lib/daemons.mjs'
import { SetupError } from '../../scripts/lib/steps.mjs'

/** A value of TOML: those of JSON that occur here are the same. */
const line = ([key, value]) => `${key} = ${JSON.stringify(value)}`

/** The tables of a profile's rules: `throttle` is one, `fault` and `delay` are lists. */
export function rulesText(profile, rules) {
  return Object.entries(rules).flatMap(([kind, tables]) => {
    const name = `profiles.${profile}.interpose.${kind}`
    return Array.isArray(tables)
      ? tables.flatMap((table) => [`[[${name}]]`, ...Object.entries(table).map(line)])
      : [`[${name}]`, ...Object.entries(tables).map(line)]
  })
}

/**
 * The configuration file.
 *
 * @param {Readonly<Record<string, unknown>>} settings of [ovfsd_settings]
 * @param {Readonly<Record<string, Readonly<Record<string, unknown>>>>} profiles by name, each mounted by its name
 * @param {string | null} interposed the profile that has rules
 * @param {object} rules see `rulesText`
 */
export function configurationText(settings, profiles, interposed, rules) {
  const lines = ['[ovfsd_settings]', ...Object.entries(settings).map(line)]
  for (const [name, options] of Object.entries(profiles)) {
    lines.push(`[profiles.${name}]`, ...Object.entries({ mount_point: name, ...options }).map(line))
    if (name === interposed) lines.push(...rulesText(name, rules))
  }
  return `${lines.join('\n')}\n`
}

const RELOADED = 'configuration reloaded'

/**
 * Whether a line of the log says what has become of a change. The watch and the signal may both lead to a line; the second one has
 * changed nothing.
 */
export function isAnswer(said) {
  if (said.includes('configuration not reloaded')) return true
  return said.includes(RELOADED) && JSON.parse(said).changed.length > 0
}

export class InterposedDaemon {
  /** @type {import('../lib/daemons.mjs').RunningDaemon} */
  running
  #file
  #settings
  #profiles
  #present

  /** @param {Readonly<Record<string, Readonly<Record<string, unknown>>>>} profiles see `configurationText` */
  static async start(work, profiles) {
    const daemon = new InterposedDaemon()
    const socket = path.join(work, 'experiments.sock')
    daemon.#file = path.join(work, 'experiments.toml')
    daemon.#settings = { socket_path: socket, log_level: 'info' }
    daemon.#profiles = profiles
    daemon.#present = daemon.#text(null, {})
    writeFileSync(daemon.#file, daemon.#present, { mode: 0o600 })
    daemon.running = await startConfigured('experiments', socket, daemon.#file)
    return daemon
  }

  /** From when this resolves, `profile` alone has these rules; none where they are {}. */
  async interpose(profile, rules) {
    const text = this.#text(profile, rules)
    if (text === this.#present) return
    const reloaded = this.running.nextLine('took its rules over', isAnswer)
    this.#replace(text)
    process.kill(this.running.pid, 'SIGHUP')
    const said = await reloaded
    if (!said.includes(RELOADED)) throw new SetupError(`the rules were refused:\n${said}\n${text}`)
    this.#present = text
  }

  #text(profile, rules) {
    return configurationText(this.#settings, this.#profiles, profile, rules)
  }

  /** As an editor does: the daemon never sees a half of it. */
  #replace(text) {
    const fresh = `${this.#file}.new`
    writeFileSync(fresh, text, { mode: 0o600 })
    renameSync(fresh, this.#file)
  }
}
