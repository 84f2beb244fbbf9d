/** One `[profiles.NAME]` table: from TOML values to a mount. */
import * as v from 'valibot'
import type { InterposeRules } from '../interpose/rules.js'
import { parseInterpose } from './interpose.js'
import { expandVariables, readSecretFile, secretFileOption } from './secrets.js'
import { listChoices, ValueError } from './problem.js'
import { PROFILE_KEY_NAMES, profileSchema, type ProfileKeys } from './schema.js'
import {
  canonicalName,
  findService,
  optionNameFault,
  parseOption,
  SERVICES,
  type Service,
} from './services.js'
import { nearestName } from './suggestion.js'

/** Reports a fault at a path below the profile; [] is the profile itself. */
export type Report = (path: readonly string[], message: string) => void

export interface Profile {
  readonly name: string
  readonly type: string
  readonly keys: ProfileKeys
  readonly interpose: InterposeRules | null
  readonly options: Readonly<Record<string, string>>
}

/** What is found in a profile beside its meaning. */
export interface Findings {
  readonly report: Report
  /** Gets the files that options are to be read from, those too that are not there. */
  readonly secretFiles: Set<string>
}

/** The one key that is a table. */
const INTERPOSE_KEY = 'interpose'
const OWN_KEY_NAMES = [...PROFILE_KEY_NAMES, INTERPOSE_KEY]

const KEEPING_TYPES = [...SERVICES]
  .filter(([, service]) => service.keepsAttributes)
  .map(([type]) => `"${type}"`)
  .join(' and ')

/** Names appear in the log and in enabled_services, whose separator is the comma. */
const PROFILE_NAME = /^[A-Za-z0-9_.-]{1,64}$/

/**
 * Check a profile. A profile that is not enabled is checked too (a slip should not wait for the day it is enabled),
 * save that options may be missing. Returns undefined when something was reported that leaves it without a meaning.
 */
export function parseProfile(
  name: string,
  written: Readonly<Record<string, unknown>>,
  isEnabled: (name: string, type: unknown) => boolean,
  findings: Findings,
): Profile | undefined {
  const { report } = findings
  if (!PROFILE_NAME.test(name)) {
    report([], "a profile's name is 1 to 64 letters, digits, dots, dashes or underscores; rename it")
  }
  const enabled = isEnabled(name, written['type'])
  // The machine that checks a file need not have the secrets of profiles that it does not mount.
  const { table, broken } = enabled ? expandTable(written, report) : { table: written, broken: NONE }
  const found = parseType(table, report)
  const known = [...OWN_KEY_NAMES, ...Object.keys(found?.service.options ?? {})]
  const slips = new Set([...misspelt(table, known), ...broken])
  const keys = parseKeys(table, slips, report)
  const interpose = interposeOf(table, report)
  if (found === undefined) return undefined
  const refused = reportRefusedKeys(found.type, found.service, table, report)
  if (keys?.keep_attributes === true && found.service.keepsAttributes !== true && !refused) {
    report(['keep_attributes'], `is not possible with the type "${found.type}"; only ${KEEPING_TYPES} can`)
  }
  const options = parseOptions(found.type, found.service, table, enabled, findings)
  reportExclusions(found.service, options, report)
  if (enabled) reportMissingOptions(found.type, found.service, table, slips, report)
  return keys === undefined ? undefined : { name, type: found.type, keys, interpose, options }
}

function interposeOf(table: Readonly<Record<string, unknown>>, report: Report): InterposeRules | null {
  const value = table[INTERPOSE_KEY]
  if (value === undefined) return null
  return parseInterpose(value, (path, message) => {
    report([INTERPOSE_KEY, ...path], message)
  })
}

/** True when there are any. */
function reportRefusedKeys(
  type: string,
  { refusedKeys = [] }: Service,
  table: Readonly<Record<string, unknown>>,
  report: Report,
): boolean {
  let found = false
  for (const { names, because } of refusedKeys) {
    for (const name of names.filter((key) => table[key] !== undefined)) {
      report([name], `has no effect with the type "${type}", as ${because}; leave it out`)
      found = true
    }
  }
  return found
}

function parseType(
  table: Readonly<Record<string, unknown>>,
  report: Report,
): { readonly type: string; readonly service: Service } | undefined {
  if (table['type'] === undefined) {
    report(['type'], 'is missing; name the service, such as type = "s3"')
    return undefined
  }
  try {
    return findService(table['type'])
  } catch (error) {
    reportValueError(error, ['type'], report)
    return undefined
  }
}

function parseKeys(
  table: Readonly<Record<string, unknown>>,
  slips: ReadonlySet<string>,
  report: Report,
): ProfileKeys | undefined {
  const result = v.safeParse(profileSchema, table)
  if (result.success) return result.output
  const examples = { mount_point: 'mount_point = "data"' }
  reportIssues(result.issues, examples, slips, report)
  return undefined
}

const NONE: ReadonlySet<string> = new Set()

/** `${NAME}` in every text but `type`, which says what all other keys mean. `broken` are the keys that were reported and left out. */
function expandTable(
  written: Readonly<Record<string, unknown>>,
  report: Report,
): { readonly table: Readonly<Record<string, unknown>>; readonly broken: ReadonlySet<string> } {
  const table: Record<string, unknown> = {}
  const broken = new Set<string>()
  for (const [key, value] of Object.entries(written)) {
    try {
      table[key] = typeof value === 'string' && key !== 'type' ? expandVariables(value, process.env) : value
    } catch (error) {
      reportValueError(error, [key], report)
      broken.add(key).add(key.replace(/_file$/, ''))
    }
  }
  return { table, broken }
}

function parseOptions(
  type: string,
  service: Service,
  table: Readonly<Record<string, unknown>>,
  enabled: boolean,
  { report, secretFiles }: Findings,
): Record<string, string> {
  const options: Record<string, string> = {}
  const given = new Map<string, string>()
  for (const [key, value] of Object.entries(table)) {
    if (OWN_KEY_NAMES.includes(key)) continue
    const fileOption = secretFileOption(type, service, key)
    const name = fileOption ?? key
    const fault = optionNameFault(type, service, name, OWN_KEY_NAMES)
    const canonical = canonicalName(service, name)
    const twin = given.get(canonical)
    given.set(canonical, key)
    if (fault !== undefined) report([key], fault)
    else if (twin !== undefined) report([key], `sets the same option as "${twin}"; keep one of them`)
    else if (enabled || !mayBeExpanded(value)) {
      try {
        if (fileOption === undefined) options[canonical] = parseOption(type, service, name, value)
        else if (enabled) {
          if (typeof value === 'string') secretFiles.add(value)
          options[canonical] = parseOption(type, service, name, readSecretFile(value))
        }
      } catch (error) {
        reportValueError(error, [key], report)
      }
    }
  }
  return options
}

function reportExclusions(
  { exclusions = [] }: Service,
  options: Readonly<Record<string, string>>,
  report: Report,
): void {
  for (const { names, excludes, because } of exclusions) {
    if (options[excludes] !== 'true') continue
    for (const name of names)
      if (options[name] !== undefined) report([name], `excludes ${excludes}: ${because}`)
  }
}

/** The value of a profile that is not enabled, and so not known. */
function mayBeExpanded(value: unknown): boolean {
  return typeof value === 'string' && value.includes('${')
}

function reportMissingOptions(
  type: string,
  service: Service,
  table: Readonly<Record<string, unknown>>,
  slips: ReadonlySet<string>,
  report: Report,
): void {
  const names = Object.keys(table).map((key) => secretFileOption(type, service, key) ?? key)
  const given = new Set([...names, ...slips].map((name) => canonicalName(service, name)))
  for (const group of service.required) {
    const name = group[0]
    if (name === undefined) continue
    if (!group.some((option) => given.has(option))) {
      report([name], `is missing; the type "${type}" needs ${listChoices(group)}`)
    } else if (
      isEmpty(group.filter((option) => table[option] !== undefined).map((option) => table[option]))
    ) {
      report([name], `is empty; the type "${type}" needs it`)
    }
  }
}

/** What is given is given in vain. An option may also stand under another name, or in a file. */
function isEmpty(values: readonly unknown[]): boolean {
  return values.length > 0 && values.every((value) => value === '')
}

/**
 * The known names that a table seems to have misspelt. They are reported as unknown keys, and need not be reported as
 * missing too.
 */
export function misspelt(
  table: Readonly<Record<string, unknown>>,
  known: readonly string[],
): ReadonlySet<string> {
  const slips = Object.keys(table).filter((name) => !known.includes(name))
  return new Set(slips.map((name) => nearestName(name, known)).filter((name) => name !== undefined))
}

/**
 * valibot's issues as problems. `examples`: what to write for a key that has no default; `slips`: see {@link misspelt}.
 */
export function reportIssues(
  issues: readonly v.BaseIssue<unknown>[],
  examples: Readonly<Record<string, string>>,
  slips: ReadonlySet<string>,
  report: Report,
): void {
  for (const issue of issues) {
    const path = (issue.path ?? []).map((item) => String(item.key))
    const name = path[0] ?? ''
    const missing = issue.kind === 'schema' && issue.type === 'object'
    if (!missing) report(path, issue.message)
    else if (!slips.has(name)) report(path, `is missing; add ${examples[name] ?? name}`)
  }
}

function reportValueError(error: unknown, path: readonly string[], report: Report): void {
  if (!(error instanceof ValueError)) throw error
  report(path, error.message)
}
