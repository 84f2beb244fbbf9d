/** What the traced program does to a host directory, as it tells it in the trace. */

export interface Step {
  readonly id: number
  readonly kind: 'store' | 'append' | 'copy' | 'rename' | 'unlink' | 'mkdir' | 'rmdir' | 'sync'
  /** What comes to be, changes or goes; of `sync`, the directory, or null for all of them. */
  readonly path: string | null
  /** Of `rename`: the new path. Of `copy`: what is copied. */
  readonly other?: string
  readonly sizeBytes?: number
}

/** A line that the program writes to its descriptor of marks. */
export type Mark =
  | { readonly mark: 'begin'; readonly step: Step }
  /** The step was acknowledged. */
  | { readonly mark: 'end'; readonly id: number }

/** Bytes that no other step writes: its number, again and again. */
export function contentsOf(id: number, sizeBytes: number): string {
  const token = `#${String(id).padStart(6, '0')};`
  return token.repeat(Math.ceil(sizeBytes / token.length)).slice(0, sizeBytes)
}

export function parentOf(path: string): string {
  return path.slice(0, Math.max(0, path.lastIndexOf('/')))
}

export function nameOf(path: string): string {
  return path.slice(path.lastIndexOf('/') + 1)
}
