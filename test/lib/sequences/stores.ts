/** The kinds of stores that sequences are tried on. */
import type { ReferenceOptions } from '../reference-store/reference-backend.js'
import type { Scenario } from './scenarios.js'

export interface StoreKind {
  readonly name: string
  readonly options: ReferenceOptions
}

export const STORE_KINDS: readonly StoreKind[] = [
  { name: 'a plain store', options: {} },
  {
    name: 'an object store that copies',
    options: { copy: true, attributes: true, renameCopies: true, movesChangeVersions: true },
  },
  { name: 'a store that appends', options: { append: true, copy: true } },
]

export function suits({ needs }: Scenario, { options }: StoreKind): boolean {
  return needs === undefined || options[needs] === true
}
