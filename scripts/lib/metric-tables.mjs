// The tables of METRICS.md, made of the definitions (src/observability/metric-definitions.ts) as they are compiled.
import { pathToFileURL } from 'node:url'
import { table } from './key-tables.mjs'
import { inRoot } from './paths.mjs'

const compiled = (file) => import(pathToFileURL(inRoot('dist/src', file)).href)

/**
 * `documentation` with each table between `<!-- metrics of GROUP -->` and `<!-- end of metrics -->` made anew, and the names of operations
 * between `<!-- operations of WHOSE -->` and `<!-- end of operations -->`.
 *
 * @param {string} documentation the text of METRICS.md
 * @returns {Promise<string>}
 */
export async function withMetricTables(documentation) {
  const { METRICS_BY_GROUP } = await compiled('observability/metric-definitions.js')
  const { BACKEND_OPERATION_NAMES } = await compiled('observability/backend-counters.js')
  const { OPERATION_NAMES } = await compiled('observability/operations.js')
  const code = (name) => `\`${name}\``
  const list = (names) => names.map(code).join(', ')
  const tableOf = (group) =>
    table(
      ['metric', 'type', 'labels', 'what'],
      Object.values(METRICS_BY_GROUP[group]).map(({ name, type, labels, help }) => [
        code(name),
        type,
        list(labels),
        help,
      ]),
    )
  return documentation
    .replace(
      /(<!-- metrics of (\S+) -->\n)[^]*?(<!-- end of metrics -->)/g,
      (_, begin, group, end) => `${begin}\n${tableOf(group)}\n${end}`,
    )
    .replace(
      /(<!-- operations of (\S+) -->\n)[^]*?(<!-- end of operations -->)/g,
      (_, begin, whose, end) =>
        `${begin}\n${list(whose === 'stores' ? BACKEND_OPERATION_NAMES : OPERATION_NAMES)}\n\n${end}`,
    )
}
