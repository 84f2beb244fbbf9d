/** What the compiler and the linker have put into our programs against a mistake of ours that meets a hostile guest. */
import assert from 'node:assert/strict'
import { spawnSync } from 'node:child_process'
import { readFileSync } from 'node:fs'
import { arch } from 'node:process'
import { describe, it } from 'node:test'
import { fileURLToPath } from 'node:url'

// dist/test/unit/packaging/ -> the package's root
const BUILT = new URL('../../../../native/build/Release/', import.meta.url)
const FILES = ['ovfsd_native.node', 'ovfsd-launch']

/** endbr64: where an indirect branch may land (CET). */
const BRANCH_TARGET = Buffer.from([0xf3, 0x0f, 0x1e, 0xfa])

const skip = spawnSync('readelf', ['--version']).status === 0 ? false : 'no readelf here'

function readelf(file: string, ...options: readonly string[]): string {
  const { status, stdout, stderr } = spawnSync('readelf', ['--wide', ...options, file], { encoding: 'utf8' })
  assert.equal(status, 0, stderr)
  return stdout
}

for (const name of FILES) {
  const file = fileURLToPath(new URL(name, BUILT))

  describe(name, { skip }, () => {
    it('has its tables read-only once it is loaded', () => {
      assert.match(readelf(file, '--program-headers'), /GNU_RELRO/)
      assert.match(readelf(file, '--dynamic'), /FLAGS.*\b(?:BIND_NOW|NOW)\b/)
    })

    it('has no stack that is executed, and no code that is written', () => {
      const headers = readelf(file, '--program-headers')
      assert.match(headers, /GNU_STACK .* RW +0x/)
      assert.doesNotMatch(headers, /LOAD .* RWE /)
    })

    it('is loaded anywhere', () => {
      assert.match(readelf(file, '--file-header'), /Type: +DYN/)
    })

    it('checks its stack and the sizes of buffers', () => {
      const symbols = readelf(file, '--dyn-syms')
      assert.match(symbols, /__stack_chk_fail/)
      // A program whose calls can all be decided while compiling has none: the launcher.
      if (name.endsWith('.node')) assert.match(symbols, /__\w+_chk\b(?<!__stack_chk)/)
    })

    it('says where branches may land', { skip: arch !== 'x64' && 'x86-64 alone has it' }, () => {
      const bytes = readFileSync(file)
      assert.ok(bytes.includes(BRANCH_TARGET))
    })
  })
}
