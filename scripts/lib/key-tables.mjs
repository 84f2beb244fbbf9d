// The tables of keys in CONFIGURATION.md, made of the schema (src/config/schema.ts) as it is compiled.
import { pathToFileURL } from 'node:url'
import { getMetadata } from 'valibot'
import { inRoot } from './paths.mjs'

const compiled = (file) => import(pathToFileURL(inRoot('dist/src/config', file)).href)

const REQUIRED = '(required)'

/**
 * `documentation` with each table between `<!-- keys of NAME -->` and `<!-- end of keys -->` made anew.
 *
 * @param {string} documentation the text of CONFIGURATION.md
 * @returns {Promise<string>}
 */
export async function withKeyTables(documentation) {
  const { serverSchema, profileSchema } = await compiled('schema.js')
  const { faultSchema, delaySchema, throttleSchema } = await compiled('interpose.js')
  const { tracingSchema, traceFilterSchema } = await compiled('tracing.js')
  const { keysThatNeedRestart } = await compiled('diff.js')
  const needRestart = keysThatNeedRestart()
  const type = ['`type`', 'text', REQUIRED, 'a service of the list below']
  const tables = {
    ovfsd_settings: table(
      ['key', 'type', 'default', 'range', 'restart'],
      rows(serverSchema).map(([name, ...cells]) => [
        `\`${name}\``,
        ...cells,
        needRestart.includes(name) ? 'yes' : 'no',
      ]),
    ),
    'profiles.NAME': table(['key', 'type', 'default', 'range'], [type, ...named(profileSchema)]),
    fault: table(['key', 'type', 'default', 'range'], named(faultSchema)),
    delay: table(['key', 'type', 'default', 'range'], named(delaySchema)),
    throttle: table(['key', 'type', 'default', 'range'], named(throttleSchema)),
    tracing: table(['key', 'type', 'default', 'range'], named(tracingSchema)),
    'tracing.filters': table(['key', 'type', 'default', 'range'], named(traceFilterSchema)),
  }
  return documentation.replace(
    /(<!-- keys of (\S+) -->\n)[^]*?(<!-- end of keys -->)/g,
    (_, begin, name, end) => `${begin}\n${tables[name]}\n${end}`,
  )
}

/** @returns {string[][]} name, type, default and range of each key */
function rows(schema) {
  return Object.entries(schema.entries).map(([name, entry]) => {
    const isOptional = entry.type === 'optional'
    const { kind, range, absent } = getMetadata(isOptional ? entry.wrapped : entry)
    const value = isOptional && entry.default !== undefined ? `\`${JSON.stringify(entry.default)}\`` : absent
    return [name, kind, isOptional ? value : REQUIRED, range]
  })
}

/** The same with each name as code. */
function named(schema) {
  return rows(schema).map(([name, ...cells]) => [`\`${name}\``, ...cells])
}

/** A table of Markdown, as prettier has it. @param {readonly string[]} head @param {readonly (readonly string[])[]} lines */
export function table(head, lines) {
  const widths = head.map((cell, column) => Math.max(...[head, ...lines].map((line) => line[column].length)))
  const row = (cells) => `| ${cells.map((cell, column) => cell.padEnd(widths[column])).join(' | ')} |\n`
  return [row(head), row(widths.map((width) => '-'.repeat(width))), ...lines.map(row)].join('')
}
