// Bars of ratios as an SVG, on a logarithmic axis: to the right of 1, ovfsd is ahead.

const ROW = 26
const BAR = 16
const LABELS = 370
const PLOT = 440
const VALUES = 60
const TOP = 44
const BOTTOM = 26
/** Beyond, a bar is cut off: its figure tells. */
const MAX_POWER = 5
const COLOURS = { ahead: '#2f7d4f', behind: '#b4552d', goal: '#222', axis: '#999', grid: '#e4e4e4' }

/**
 * @param {string} title
 * @param {readonly { label: string, ratio: number, goal?: number }[]} bars `goal` is marked by a line across the bar
 */
export function ratioBars(title, bars) {
  const powers = bars.flatMap(({ ratio, goal }) =>
    [ratio, goal ?? 1].map((value) => Math.abs(Math.log2(value))),
  )
  const range = Math.min(MAX_POWER, Math.max(1, Math.ceil(Math.max(...powers))))
  const xOf = (ratio) => {
    const power = Math.max(-range, Math.min(range, Math.log2(ratio)))
    return LABELS + ((power + range) / (2 * range)) * PLOT
  }
  const height = TOP + bars.length * ROW + BOTTOM
  const width = LABELS + PLOT + VALUES
  const ticks = Array.from({ length: 2 * range + 1 }, (_, index) => 2 ** (index - range))
  const lines = [
    `<svg xmlns="http://www.w3.org/2000/svg" width="${width}" height="${height}" viewBox="0 0 ${width} ${height}" font-family="sans-serif" font-size="13">`,
    `<rect width="${width}" height="${height}" fill="#fff"/>`,
    svgText(12, 22, title, 'font-size="15" font-weight="bold"'),
    ...ticks.flatMap((tick) => axisTick(tick, xOf(tick), height)),
    ...bars.flatMap((bar, index) => barLines(bar, TOP + index * ROW, xOf)),
    '</svg>',
  ]
  return `${lines.join('\n')}\n`
}

function axisTick(tick, x, height) {
  const colour = tick === 1 ? COLOURS.axis : COLOURS.grid
  const name = tick < 1 ? `1/${1 / tick}` : String(tick)
  return [
    `<line x1="${round(x)}" x2="${round(x)}" y1="${TOP - 6}" y2="${height - BOTTOM}" stroke="${colour}"/>`,
    svgText(x, height - 8, name, 'text-anchor="middle" fill="#555"'),
  ]
}

function barLines({ label, ratio, goal }, y, xOf) {
  const [from, to] = [xOf(1), xOf(ratio)].sort((a, b) => a - b)
  const colour = ratio >= 1 ? COLOURS.ahead : COLOURS.behind
  const lines = [
    svgText(LABELS - 10, y + 13, label, 'text-anchor="end"'),
    `<rect x="${round(from)}" y="${y}" width="${round(Math.max(to - from, 1))}" height="${BAR}" fill="${colour}"/>`,
    svgText(LABELS + PLOT + 8, y + 13, ratio.toFixed(2), 'font-weight="bold"'),
  ]
  if (goal !== undefined) {
    const x = round(xOf(goal))
    lines.push(
      `<line x1="${x}" x2="${x}" y1="${y - 3}" y2="${y + BAR + 3}" stroke="${COLOURS.goal}" stroke-width="2"/>`,
    )
  }
  return lines
}

export function svgText(x, y, content, attributes) {
  const escaped = content.replaceAll('&', '&amp;').replaceAll('<', '&lt;')
  return `<text x="${round(x)}" y="${y}" ${attributes}>${escaped}</text>`
}

export const round = (value) => Number(value.toFixed(1))
