import { readFileSync } from 'node:fs'

export function packageVersion(): string {
  // dist/src/cli/ -> the package's root
  const file = new URL('../../../package.json', import.meta.url)
  return (JSON.parse(readFileSync(file, 'utf8')) as { version: string }).version
}
