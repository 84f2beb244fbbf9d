// Applications in the guest, each at every level of every interposer, and what they saw.
import path from 'node:path'
import { median } from '../lib/report.mjs'
import { build } from './build.mjs'
import { database } from './database.mjs'
import { levelsOf, NONE } from './levels.mjs'
import { objectStore } from './object-store.mjs'

/**
 * @typedef {object} Run what one run of an application saw
 * @property {Record<string, number>} rates by series
 * @property {number} seconds
 * @property {number} attempted calls, statements or compilations
 * @property {number} failed of them
 * @property {readonly string[]} messages the different errors that it was told
 *
 * @typedef {object} Application
 * @property {string} name
 * @property {string} title
 * @property {string} profile the mount that it works on
 * @property {readonly string[]} series what is measured, all in `unit`
 * @property {string} unit
 * @property {boolean} [lowerIsBetter]
 * @property {boolean} [needsStore] its mount is Ceph's
 * @property {string} what in Markdown
 * @property {(places: object) => Promise<void>} [install] once, before everything
 * @property {(place: object) => Promise<void>} prepare before each run, without rules
 * @property {(place: object) => Promise<Run>} run with the rules
 * @property {(place: object, run: Run) => Promise<{ isSound: boolean, note: string }>} check after each run, without rules
 *
 * @typedef {Run & { kind: string, label: string, round: number, isSound: boolean, note: string }} Sample
 */

/** @type {readonly Application[]} */
export const APPLICATIONS = [database, build, objectStore]

/**
 * All runs of an application, round by round.
 *
 * @param {Application} application
 * @param {object} context daemon, guest, `mounted` (the directory in the guest with all mounts), `appsRoot`, rounds, quick, say
 * @returns {Promise<{ name: string, samples: Sample[] }>}
 */
export async function measureApplication(application, context) {
  const { guest, mounted, rounds, quick, say } = context
  const places = { guest, tools: `${mounted}/tools`, shared: `${mounted}/apps` }
  await application.install?.(places)
  const settings = [
    { kind: NONE, label: NONE, rules: {} },
    ...levelsOf(application.name, quick).flatMap(({ kind, levels }) =>
      levels.map((level) => ({ kind, ...level })),
    ),
  ]
  // What is slow but the first time is none of the levels'.
  await runOnce(application, settings[0], `${application.name}-first`, context)
  const samples = []
  for (let round = 0; round < rounds; round++) {
    for (const [place, setting] of settings.entries()) {
      const sample = await runOnce(
        application,
        seeded(setting, round),
        `${application.name}-${round}-${place}`,
        context,
      )
      samples.push({ ...sample, round })
      const rates = Object.entries(sample.rates).map(([name, rate]) => `${name} ${rate.toPrecision(3)}`)
      say(
        `${application.name} ${round + 1}/${rounds} ${setting.kind} ${setting.label}: ${rates.join(', ')}, ${sample.failed} of ${sample.attempted} failed, ${sample.note}`,
      )
    }
  }
  return { name: application.name, samples }
}

/** The same seed gives the same faults: each round has its own. */
function seeded(setting, round) {
  const { fault } = setting.rules
  if (fault === undefined) return setting
  return { ...setting, rules: { fault: fault.map((rule) => ({ ...rule, seed: round })) } }
}

/** In a directory of its own, of which the guest knows nothing. */
async function runOnce(application, { kind, label, rules }, name, { daemon, guest, mounted, appsRoot }) {
  const { profile } = application
  const place = {
    guest,
    directory: `${mounted}/${profile}/${name}`,
    hostDirectory: path.join(appsRoot, name),
  }
  await application.prepare(place)
  await daemon.interpose(profile, rules)
  const run = await application.run(place)
  await daemon.interpose(profile, {})
  return { kind, label, ...run, ...(await application.check(place, run)) }
}

/**
 * Of all rounds of a level: medians of the rates, and all that failed.
 *
 * @param {readonly Sample[]} samples
 */
export function summarizeLevel(samples) {
  const [first] = samples
  const sum = (key) => samples.reduce((total, sample) => total + sample[key], 0)
  const unsound = samples.filter(({ isSound }) => !isSound)
  return {
    ...{ kind: first.kind, label: first.label, attempted: sum('attempted'), failed: sum('failed') },
    rates: Object.fromEntries(
      Object.keys(first.rates).map((series) => [series, median(samples.map(({ rates }) => rates[series]))]),
    ),
    messages: [...new Set(samples.flatMap(({ messages }) => messages))],
    unsound: unsound.length,
    notes: [...new Set(samples.map(({ note }) => note))],
  }
}

/**
 * The levels of one interposer, from none on.
 *
 * @param {readonly Sample[]} samples of one application
 * @param {string} kind
 */
export function levelsFound(samples, kind) {
  const own = samples.filter((sample) => sample.kind === NONE || sample.kind === kind)
  const labels = [...new Set(own.map(({ label }) => label))]
  return labels.map((label) => summarizeLevel(own.filter((sample) => sample.label === label)))
}
