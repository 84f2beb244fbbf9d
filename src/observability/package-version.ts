import { readFileSync } from 'node:fs'

/** As package.json has it. */
export function packageVersion(): string {
  // dist/src/observability/ and dist/bundle/cli/ -> the package's root
  const file = new URL('../../../package.json', import.meta.url)
  return (JSON.parse(readFileSync(file, 'utf8')) as { version: string }).version
}
