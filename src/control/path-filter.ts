/** True for the paths that are meant. */
export type PathFilter = (path: string) => boolean

/**
 * `glob` in the guest's tree: a file, a directory with all that is below it, or a pattern with *, **, ?, [...] and {a,b}; what lies below
 * a directory that matches is meant, too.
 */
export async function pathFilter(glob: string): Promise<PathFilter> {
  const { default: picomatch } = await import('picomatch')
  const plain = glob.startsWith('/') ? glob : `/${glob}`
  const base = plain.replace(/\/+$/, '')
  // A name may hold a line's end, and "." of an expression would not match it.
  const matches = picomatch([base === '' ? '/**' : base, `${base}/**`], {
    dot: true,
    nonegate: true,
    flags: 's',
  })
  return (path) => path === base || path.startsWith(`${base}/`) || matches(path)
}
