/** A path in a URL: a name's own "%" and whatever else means something there is escaped, "/" is not. */
export function encodePath(path: string): string {
  return path === '' ? '/' : path.split('/').map(encodeURIComponent).join('/')
}
