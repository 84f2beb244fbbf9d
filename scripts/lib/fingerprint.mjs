// Says whether something must be built anew: by the content of its inputs, not by their times, which git changes.
import { createHash } from 'node:crypto'
import { existsSync, mkdirSync, readdirSync, readFileSync, statSync, writeFileSync } from 'node:fs'
import path from 'node:path'
import { inRoot, root } from './paths.mjs'

/** Every file below `dir` (relative to the root) that `accept` takes, sorted; [] where there is no such folder. */
export function filesBelow(dir, accept = () => true, skipFolders = ['build', 'node_modules']) {
  const found = []
  const visit = (folder) => {
    if (!existsSync(folder)) return
    for (const entry of readdirSync(folder, { withFileTypes: true })) {
      const full = path.join(folder, entry.name)
      if (entry.isDirectory()) {
        if (!skipFolders.includes(entry.name)) visit(full)
      } else if (accept(entry.name)) found.push(path.relative(root, full))
    }
  }
  visit(inRoot(dir))
  return found.sort()
}

/** SHA-256 over the names and contents of files (relative to the root) and over any further strings. */
export function fingerprint(files, ...extras) {
  const hash = createHash('sha256')
  for (const file of files) {
    const full = inRoot(file)
    hash.update(`\0${file}\0`)
    if (existsSync(full) && statSync(full).isFile()) hash.update(readFileSync(full))
  }
  for (const extra of extras) hash.update(`\0${extra}`)
  return hash.digest('hex')
}

/** A stamp lies in the folder that it speaks for, so that removing the folder removes the stamp. */
export function readStamp(file) {
  try {
    return readFileSync(file, 'utf8').trim()
  } catch {
    return ''
  }
}

export function writeStamp(file, value) {
  mkdirSync(path.dirname(file), { recursive: true })
  writeFileSync(file, `${value}\n`)
}
