/** Scenarios that are known to fail, with what is wrong: they are run, and do not fail the whole. */
import type { TestOptions } from 'node:test'

export type Unfinished = Readonly<Record<string, string>>

/** Options of the test `name`. */
export function optionsOf(unfinished: Unfinished, name: string): TestOptions {
  const reason = unfinished[name]
  return reason === undefined ? {} : { todo: reason }
}
