// docs/EXPERIMENTS.md and its plots, from the results. What it says of a figure is computed from that, or holds whatever it shows.
import { format, resolveConfig } from 'prettier'
import { inRoot } from '../../scripts/lib/paths.mjs'
import { lineChart } from '../lib/line-chart.mjs'
import { markdownTable } from '../lib/report.mjs'
import { APPLICATIONS, levelsFound } from './applications.mjs'
import { CURVES, deviation, SIGMAS } from './curves.mjs'
import { LEVELS, NONE } from './levels.mjs'

const PERCENT = 100
const KINDS = ['throttle', 'delay', 'fault']

/**
 * @param {object} result of `benchExperiments`
 * @returns {Promise<Record<string, string>>} contents by file name
 */
export async function experimentsDocument(result) {
  const curves = CURVES.flatMap((curve) =>
    result.curves.filter(({ name }) => name === curve.name).map(({ points }) => ({ curve, points })),
  )
  const applications = APPLICATIONS.flatMap((application) =>
    result.applications
      .filter(({ name }) => name === application.name)
      .map(({ samples }) => ({ application, samples })),
  )
  const text = [
    '# Experiments',
    'Made by `npm run bench -- experiments`: mounts that are throttled, delayed or faulty on purpose (`interpose`), seen from a Linux guest; [bench/README.md](../bench/README.md) says how it is measured.',
    conditions(result),
    ...(curves.length === 0 ? [] : curvesSection(curves)),
    ...(applications.length === 0 ? [] : ['## Applications', applicationsNote(result)]),
    ...applications.flatMap(applicationSection),
  ].join('\n\n')
  const file = inRoot('docs/EXPERIMENTS.md')
  return {
    'EXPERIMENTS.md': await format(text, { ...(await resolveConfig(file)), filepath: file }),
    ...Object.fromEntries(curves.map(({ curve, points }) => [plotOf(curve), curvePlot(curve, points)])),
    ...Object.fromEntries(applications.map((one) => [plotOf(one.application), applicationPlot(one)])),
  }
}

const plotOf = ({ name }) => `experiments-${name}.svg`

/** The machine, the versions, and how busy the machine was. */
function conditions({ date, machine, versions, load, rounds, minutes }) {
  const { cpu, cpus, memoryGiB, kernel } = machine
  const processors =
    versions.accelerator === 'tcg'
      ? "its processors are emulated in software (TCG), and slow: absolute numbers are the emulator's"
      : `its processors are virtualised (${versions.accelerator})`
  return [
    `- ${date.slice(0, 10)}, ovfsd ${versions.ovfsd}, commit ${versions.commit}, Node.js ${versions.node}`,
    `- ${cpus} CPUs (${cpu}), ${memoryGiB} GiB, ${kernel}`,
    `- the guest: Linux ${versions.guestKernel} under ${versions.qemu}, ${versions.fio}; ${processors}`,
    `- load of the machine: ${load.before[0].toFixed(1)} before, ${load.after[0].toFixed(1)} after (guest, daemon and servers share its CPUs); one daemon and one boot for everything, ${minutes.toFixed(0)} minutes; curves were measured once, rounds of the applications: ${rounds}`,
  ].join('\n')
}

function curvesSection(curves) {
  return [
    '## What is configured and what is met',
    'fio in the guest, on a mount of `type = "memory"` with `guest_cache = "none"`, so that each of its requests comes to the daemon. Between two points the configuration file is changed and loaded again. Points on the dashed line are as configured.',
    ...curves.flatMap(({ curve, points }) => [
      `### ${curve.title}`,
      `![${curve.title}](${plotOf(curve)})`,
      curveText(curve, points),
      curveTable(curve, points),
    ]),
  ]
}

const number = (value) => (value === 0 ? '0' : String(Number(value.toPrecision(3))))
const range = (values) => `${number(Math.min(...values))} to ${number(Math.max(...values))}`
const percent = (part) => {
  const text = (part * PERCENT).toFixed(1)
  return `${Number(text) === 0 ? '0.0' : text.startsWith('-') ? text : `+${text}`} %`
}
const withUnit = (text, { unit }) => (unit === '' ? text : `${text} ${unit}`)

/** Of all points, the one that is farthest off. */
function curveText(curve, points) {
  const worst = points.reduce((a, b) => (Math.abs(deviation(b)) > Math.abs(deviation(a)) ? b : a))
  const off = `The point that is farthest off is ${worst.series} at ${withUnit(number(worst.configured), curve)}: ${percent(deviation(worst))}.`
  const plain = [...new Map(points.map((point) => [point.series, point.without]))]
    .map(([series, without]) => `${series} ${withUnit(number(without), curve)}`)
    .join(', ')
  switch (curve.name) {
    case 'throttle-bytes':
    case 'throttle-operations':
      return `Reads and writes at the same time, one request of each after the other; without rules the guest came to ${plain} just before, so rates near that may be its limit. ${off}`
    case 'delay':
      return `The mean latency less that of as many reads of a file without rules at the same time (${range(points.map(({ without }) => without))} ms); uniform delays are from 0 to twice their mean. Vertical lines are ${SIGMAS} sigma of what so few random delays differ by chance. ${off}`
    default:
      return `Of random reads and writes of 4 KiB, those that failed with EIO; without rules: ${plain}. Vertical lines are ${SIGMAS} sigma of what so few requests differ by chance; ${beyondChance(points)}`
  }
}

function beyondChance(points) {
  const beyond = points.filter(
    ({ configured, measured, sigma }) => Math.abs(measured - configured) > SIGMAS * sigma,
  )
  return `${points.length - beyond.length} of ${points.length} points are as near as that.`
}

function curveTable(curve, points) {
  const series = [...new Set(points.map((point) => point.series))]
  const levels = [...new Set(points.map(({ configured }) => configured))]
  const head = [withUnit('configured', { unit: curve.unit && `(${curve.unit})` })]
  const lines = levels.map((level) => [
    number(level),
    ...series.flatMap((name) => {
      const point = points.find((one) => one.series === name && one.configured === level)
      return [number(point.measured), percent(deviation(point))]
    }),
  ])
  return markdownTable([...head, ...series.flatMap((name) => [name, 'deviation'])], lines)
}

function curvePlot(curve, points) {
  const series = [...new Set(points.map((point) => point.series))].map((name) => ({
    name,
    points: points
      .filter((point) => point.series === name)
      .map(({ configured, measured, sigma }) => ({
        ...{ x: configured, y: measured },
        // Of what is configured: whoever is right has it within.
        ...(sigma > 0 ? { low: configured - SIGMAS * sigma, high: configured + SIGMAS * sigma } : {}),
      })),
  }))
  const axis = (label) => ({ kind: 'log', label: withUnit(label, { unit: curve.unit && `(${curve.unit})` }) })
  const panel = { title: '', x: axis('configured'), y: axis('measured'), series, ideal: true }
  return lineChart(curve.title, [panel])
}

const applicationsNote = ({ rounds }) =>
  `Each run has a directory of its own, on a mount with its usual caches; rules are there only while the application works. Rates are medians of ${rounds} ${rounds === 1 ? 'run' : 'runs'}, failures the sum of all runs.`

function applicationSection({ application, samples }) {
  const { title, what } = application
  return [
    `### ${title}`,
    what,
    `![${title}](${plotOf(application)})`,
    ...KINDS.flatMap((kind) => {
      const { what: rule } = LEVELS[application.name].find((one) => one.kind === kind)
      const levels = levelsFound(samples, kind)
      return [`**${kind}**: ${rule}. ${levelsText(application, levels)}`, levelsTable(application, levels)]
    }),
  ]
}

/** What the last level did, beside none, and whether anything was left broken. */
function levelsText({ series, lowerIsBetter, unit }, levels) {
  const [first] = series
  const [none, last] = [levels[0], levels.at(-1)]
  // Where there is one series it is what the unit says.
  const name = series.length === 1 ? '' : `${first} `
  const rate = `At ${last.label}: ${name}${number(last.rates[first])} ${unit}, beside ${number(none.rates[first])} without rules${lowerIsBetter === true ? ' (less is better)' : ''}.`
  const failed = levels.filter(({ failed: count }) => count > 0).map(({ label }) => label)
  const errors = failed.length === 0 ? 'Nothing failed.' : `Something failed at: ${failed.join(', ')}.`
  const unsound = levels.filter(({ unsound: count }) => count > 0).map(({ label }) => label)
  const sound =
    unsound.length === 0 ? 'Nothing was left broken.' : `Something was left broken at: ${unsound.join(', ')}.`
  return `${rate} ${errors} ${sound}`
}

function levelsTable({ series, unit }, levels) {
  const shown = series.map((name) => (series.length === 1 ? unit : `${name}, ${unit}`))
  const head = ['level', ...shown, 'failed', 'afterwards', 'errors seen']
  const lines = levels.map(({ label, rates, failed, attempted, notes, messages }) => [
    label,
    ...series.map((name) => number(rates[name])),
    `${failed} of ${attempted}`,
    notes.join('; '),
    messages.slice(0, 3).join('; ').replaceAll('|', '\\|') || '-',
  ])
  return markdownTable(head, lines)
}

/** A panel for each interposer, and one for what failed. */
function applicationPlot({ application, samples }) {
  const { title, series, unit } = application
  const panels = KINDS.map((kind) => {
    const levels = levelsFound(samples, kind)
    return {
      ...{ title: kind, x: namesOf(levels), y: { kind: 'linear', label: unit } },
      series: series.map((name) => ({
        name,
        points: levels.map(({ rates }, x) => ({ x, y: rates[name] })),
      })),
    }
  })
  const faults = levelsFound(samples, 'fault')
  panels.push({
    ...{ title: 'fault: what failed', x: namesOf(faults), y: { kind: 'linear', label: '% failed' } },
    series: [
      {
        name: 'failed',
        points: faults.map(({ failed, attempted }, x) => ({ x, y: (failed / attempted) * PERCENT })),
      },
    ],
  })
  return lineChart(title, panels)
}

const namesOf = (levels) => ({
  ...{ kind: 'names', label: `level (${NONE}: without rules)` },
  names: levels.map(({ label }) => label),
})
