/** "did you mean": the nearest of the known names. */

/** Most edits by which a misspelling may differ: one for short names, two for longer, three for very long ones. */
function editsAllowed(name: string): number {
  return name.length < 5 ? 1 : name.length < 12 ? 2 : 3
}

/** The known name that `name` most likely stands for, or undefined if none is near. */
export function nearestName(name: string, known: readonly string[]): string | undefined {
  const wanted = normalise(name)
  let best: string | undefined
  let bestEdits = editsAllowed(name) + 1
  for (const candidate of known) {
    const edits = editDistance(wanted, normalise(candidate))
    if (edits < bestEdits) [best, bestEdits] = [candidate, edits]
  }
  return best
}

/** `; did you mean "bucket"?`, or nothing. */
export function didYouMean(name: string, known: readonly string[]): string {
  const nearest = nearestName(name, known)
  return nearest === undefined ? '' : `; did you mean "${nearest}"?`
}

/** `mountPoint`, `mount-point` and `mount_point` are the same word. */
function normalise(name: string): string {
  return name.toLowerCase().replaceAll(/[-_ ]/g, '')
}

/** Names longer than this are nobody's misspelling; bounds the work below. */
const LONGEST_NAME = 100

/** Optimal string alignment distance: insertions, deletions, substitutions and swaps of neighbours. */
export function editDistance(a: string, b: string): number {
  if (a.length > LONGEST_NAME || b.length > LONGEST_NAME) return Infinity
  let beforePrevious: number[] = []
  let previous = Array.from({ length: b.length + 1 }, (_, index) => index)
  for (let i = 1; i <= a.length; i++) {
    const current = [i]
    for (let j = 1; j <= b.length; j++) {
      const same = a[i - 1] === b[j - 1]
      let cost = Math.min(at(previous, j) + 1, at(current, j - 1) + 1, at(previous, j - 1) + (same ? 0 : 1))
      const swapped = i > 1 && j > 1 && a[i - 1] === b[j - 2] && a[i - 2] === b[j - 1]
      if (swapped) cost = Math.min(cost, at(beforePrevious, j - 2) + 1)
      current.push(cost)
    }
    beforePrevious = previous
    previous = current
  }
  return at(previous, b.length)
}

function at(row: readonly number[], index: number): number {
  return row[index] ?? Infinity
}
