// Runs bench/lib/raw-binding.mjs, OpenDAL's binding alone, in a process of its own.
import { execFileSync } from 'node:child_process'
import { inRoot } from '../../scripts/lib/paths.mjs'

/** @param {object} job see raw-binding.mjs */
export function rawSeconds(job) {
  return Number(execFileSync(process.execPath, [inRoot('bench/lib/raw-binding.mjs'), JSON.stringify(job)]))
}
