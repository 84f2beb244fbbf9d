// Lines over a logarithmic, a linear or a named axis as an SVG, one panel beside the other.
import { round, svgText as text } from './svg.mjs'

const PANEL = { width: 440, height: 330 }
const MARGIN = { left: 74, right: 20, top: 44, bottom: 56 }
const TITLE_HEIGHT = 34
const PANELS_PER_ROW = 2
const LEGEND_ROW = 18
const POINT_RADIUS = 3.5
/** So many ticks of a linear axis, more or less. */
const LINEAR_TICKS = 5
/** Ticks of a decade of a logarithmic axis. */
const DECADE_STEPS = [1, 2, 5]
/** With more decades than this, only their beginnings have ticks. */
const STEPPED_DECADES = 2.5
const COLOURS = ['#2f7d4f', '#b4552d', '#3b5fa8', '#8a6d1d']
const GREY = { axis: '#999', grid: '#e4e4e4', text: '#555', ideal: '#222' }

/**
 * @typedef {{ x: number, y: number, low?: number, high?: number }} ChartPoint `x` of a named axis is the place of the name;
 *   `low` and `high` are the ends of a bar of errors
 * @typedef {{ name: string, points: readonly ChartPoint[] }} Series
 * @typedef {{ label: string, kind: 'log' | 'linear' } | { label: string, kind: 'names', names: readonly string[] }} AxisKind
 * @typedef {{ title: string, x: AxisKind, y: AxisKind, series: readonly Series[], ideal?: boolean }} Panel `ideal`: a line where
 *   both axes have the same value
 */

/** From values to 0..1, with the ticks that a person would choose. A logarithmic axis leaves out what is not above 0. */
export function axisOf(kind, values) {
  if (kind.kind === 'names') return namedAxis(kind.names)
  return kind.kind === 'log' ? logAxis(values.filter((value) => value > 0)) : linearAxis(values)
}

function namedAxis(names) {
  const at = (place) => (place + 0.5) / names.length
  const ticks = names.map((label, place) => ({ value: place, label }))
  return { at, ticks, range: [0, names.length - 1], has: () => true }
}

function linearAxis(values) {
  const highest = Math.max(0, ...values)
  const step = niceStep((highest || 1) / LINEAR_TICKS)
  const count = Math.max(1, Math.ceil(highest / step))
  const ticks = Array.from({ length: count + 1 }, (_, i) => Number((i * step).toPrecision(10)))
  return {
    at: (value) => Math.max(0, value) / (count * step),
    ticks: ticks.map((value) => ({ value, label: shortNumber(value) })),
    range: [0, count * step],
    has: (value) => Number.isFinite(value),
  }
}

/** 1, 2 or 5 times a power of ten: the least that is not below. */
function niceStep(least) {
  const power = 10 ** Math.floor(Math.log10(least))
  return power * ([1, 2, 5].find((factor) => factor * power >= least * 0.999) ?? 10)
}

function logAxis(values) {
  const [least, most] = values.length === 0 ? [1, 10] : [Math.min(...values), Math.max(...values)]
  const isWide = Math.log10(most / least) > STEPPED_DECADES
  const steps = isWide ? [1] : DECADE_STEPS
  const [from, to] = [logEdge(least, Math.floor, steps), logEdge(most, Math.ceil, steps)]
  // A value alone that is a tick has no span.
  const span = Math.max(to - from, Math.log10(2))
  const ticks = []
  for (let decade = Math.floor(from); decade <= Math.ceil(to); decade++) {
    for (const step of steps) {
      const value = Number((step * 10 ** decade).toPrecision(3))
      const place = (Math.log10(value) - from) / span
      if (place > -1e-6 && place < 1 + 1e-6) ticks.push({ value, label: shortNumber(value) })
    }
  }
  const at = (value) => (Math.log10(value) - from) / span
  return { at, ticks, range: [10 ** from, 10 ** (from + span)], has: (value) => value > 0 }
}

/** The decimal logarithm of the next tick below or above. */
function logEdge(value, towards, steps) {
  const decade = Math.floor(Math.log10(value))
  const logs = [...steps, 10].map((step) => decade + Math.log10(step))
  const near = logs.find((log) => Math.abs(log - Math.log10(value)) < 1e-9)
  if (near !== undefined) return near
  return towards === Math.floor
    ? logs.findLast((log) => log < Math.log10(value))
    : logs.find((log) => log > Math.log10(value))
}

function shortNumber(value) {
  if (value >= 1e6) return `${Number((value / 1e6).toPrecision(3))}M`
  return value >= 10_000 ? `${Number((value / 1000).toPrecision(3))}k` : String(value)
}

/**
 * @param {string} title
 * @param {readonly Panel[]} panels
 */
export function lineChart(title, panels) {
  const columns = Math.min(PANELS_PER_ROW, panels.length)
  const width = columns * PANEL.width
  const legend = Math.max(...panels.map(({ series, ideal }) => series.length + (ideal ? 1 : 0)))
  const panelHeight = PANEL.height + (legend > 1 ? legend * LEGEND_ROW : 0)
  const height = TITLE_HEIGHT + Math.ceil(panels.length / columns) * panelHeight
  const drawn = panels.flatMap((panel, index) => [
    `<g transform="translate(${(index % columns) * PANEL.width} ${TITLE_HEIGHT + Math.floor(index / columns) * panelHeight})">`,
    ...panelLines(panel),
    '</g>',
  ])
  const lines = [
    `<svg xmlns="http://www.w3.org/2000/svg" width="${width}" height="${height}" viewBox="0 0 ${width} ${height}" font-family="sans-serif" font-size="12">`,
    `<rect width="${width}" height="${height}" fill="#fff"/>`,
    text(12, 22, title, 'font-size="15" font-weight="bold"'),
    ...drawn,
    '</svg>',
  ]
  return `${lines.join('\n')}\n`
}

function panelLines({ title, x, y, series, ideal = false }) {
  const points = series.flatMap((one) => one.points)
  const ys = points.flatMap((point) => [point.y, point.low ?? point.y, point.high ?? point.y])
  const xs = points.map((point) => point.x)
  // With the ideal, both axes have the same range: what is ideal is the diagonal.
  const [xAxis, yAxis] = [axisOf(x, ideal ? [...xs, ...ys] : xs), axisOf(y, ideal ? [...xs, ...ys] : ys)]
  const plot = {
    width: PANEL.width - MARGIN.left - MARGIN.right,
    height: PANEL.height - MARGIN.top - MARGIN.bottom,
  }
  const place = {
    x: (value) => round(MARGIN.left + xAxis.at(value) * plot.width),
    y: (value) => round(MARGIN.top + (1 - yAxis.at(value)) * plot.height),
  }
  const isShown = (point) => xAxis.has(point.x) && yAxis.has(point.y)
  return [
    text(MARGIN.left, MARGIN.top - 14, title, 'font-weight="bold"'),
    ...gridLines(xAxis, yAxis, place, plot),
    text(
      MARGIN.left + plot.width / 2,
      PANEL.height - 14,
      x.label,
      `text-anchor="middle" fill="${GREY.text}"`,
    ),
    text(
      16,
      MARGIN.top + plot.height / 2,
      y.label,
      `text-anchor="middle" fill="${GREY.text}" transform="rotate(-90 16 ${MARGIN.top + plot.height / 2})"`,
    ),
    ...(ideal ? idealLine(place, xAxis) : []),
    ...series.flatMap((one, index) =>
      seriesLines(one.points.filter(isShown), COLOURS[index % COLOURS.length], place, yAxis),
    ),
    ...legendLines(series, ideal),
  ]
}

function gridLines(xAxis, yAxis, place, plot) {
  const [right, bottom] = [MARGIN.left + plot.width, MARGIN.top + plot.height]
  const vertical = xAxis.ticks.flatMap(({ value, label }) => [
    svgLine(place.x(value), MARGIN.top, place.x(value), bottom, GREY.grid),
    text(place.x(value), bottom + 16, label, `text-anchor="middle" fill="${GREY.text}"`),
  ])
  const horizontal = yAxis.ticks.flatMap(({ value, label }) => [
    svgLine(MARGIN.left, place.y(value), right, place.y(value), GREY.grid),
    text(MARGIN.left - 6, place.y(value) + 4, label, `text-anchor="end" fill="${GREY.text}"`),
  ])
  return [
    ...vertical,
    ...horizontal,
    svgLine(MARGIN.left, bottom, right, bottom, GREY.axis),
    svgLine(MARGIN.left, MARGIN.top, MARGIN.left, bottom, GREY.axis),
  ]
}

function idealLine(place, { range: [from, to] }) {
  return [
    svgLine(place.x(from), place.y(from), place.x(to), place.y(to), GREY.ideal, 'stroke-dasharray="5 4"'),
  ]
}

function seriesLines(points, colour, place, yAxis) {
  const path = points.map(({ x, y }) => `${place.x(x)},${place.y(y)}`).join(' ')
  const bars = points
    .filter(({ low, high }) => low !== undefined && high !== undefined && yAxis.has(high))
    // A bar that would reach below a logarithmic axis ends there.
    .map(({ x, low, high }) =>
      svgLine(place.x(x), place.y(yAxis.has(low) ? low : yAxis.range[0]), place.x(x), place.y(high), colour),
    )
  return [
    `<polyline points="${path}" fill="none" stroke="${colour}" stroke-width="1.5"/>`,
    ...bars,
    ...points.map(
      ({ x, y }) => `<circle cx="${place.x(x)}" cy="${place.y(y)}" r="${POINT_RADIUS}" fill="${colour}"/>`,
    ),
  ]
}

function legendLines(series, ideal) {
  const entries = series.map(({ name }, index) => ({
    name,
    colour: COLOURS[index % COLOURS.length],
    dash: '',
  }))
  if (ideal) entries.push({ name: 'as configured', colour: GREY.ideal, dash: 'stroke-dasharray="5 4"' })
  if (entries.length < 2) return []
  return entries.flatMap(({ name, colour, dash }, index) => {
    const y = PANEL.height + index * LEGEND_ROW
    return [
      svgLine(MARGIN.left, y, MARGIN.left + 24, y, colour, `stroke-width="2" ${dash}`),
      text(MARGIN.left + 32, y + 4, name, `fill="${GREY.text}"`),
    ]
  })
}

const svgLine = (x1, y1, x2, y2, colour, attributes = '') =>
  `<line x1="${x1}" y1="${y1}" x2="${x2}" y2="${y2}" stroke="${colour}" ${attributes}/>`
