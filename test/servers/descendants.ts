import { readdirSync, readFileSync } from 'node:fs'
import { identityOf, type ProcessIdentity } from './process-id.js'

/** The processes that a process has started, and those that they have: to see later whether one was left. */
export function descendantsOf(pid: number): ProcessIdentity[] {
  const childrenOf = new Map<number, number[]>()
  for (const name of readdirSync('/proc')) {
    if (!/^\d+$/.test(name)) continue
    const parent = parentOf(Number(name))
    if (parent !== null) childrenOf.set(parent, [...(childrenOf.get(parent) ?? []), Number(name)])
  }
  const found: ProcessIdentity[] = []
  const visit = (parent: number): void => {
    for (const child of childrenOf.get(parent) ?? []) {
      const identity = identityOf(child)
      if (identity !== null) found.push(identity)
      visit(child)
    }
  }
  visit(pid)
  return found
}

function parentOf(pid: number): number | null {
  try {
    const stat = readFileSync(`/proc/${pid}/stat`, 'utf8')
    return Number(stat.slice(stat.lastIndexOf(')') + 2).split(' ')[1])
  } catch {
    return null
  }
}
