/** Why a file can't be read, for the errors that people meet. */
const REASONS = new Map([
  ['ENOENT', 'there is no such file'],
  ['EACCES', 'permission denied'],
  ['EISDIR', 'it is a directory; name a file'],
  ['ENOTDIR', 'a part of its path is not a directory'],
])

export function fileErrorReason(error: unknown): string {
  const code = (error as NodeJS.ErrnoException).code ?? ''
  return REASONS.get(code) ?? (error as Error).message
}
