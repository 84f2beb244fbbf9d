// A build: some tens of C files compiled by make with a small compiler, which is in another mount of the same daemon.
import { mkdirSync, utimesSync, writeFileSync } from 'node:fs'
import path from 'node:path'
import { SetupError } from '../../scripts/lib/steps.mjs'
import { secondsOf, TIMED } from './timing.mjs'

const FILES = 20
/** main.c too, and the link. */
const STEPS = FILES + 2
const FUNCTIONS = 20
const MODULUS = 1009
/** The guest has two processors. */
const JOBS = 2
const RUN_TIMEOUT_MS = 180_000
const LIBRARIES = '/usr/lib/x86_64-linux-gnu'
/** What tcc looks for at fixed places. */
const LINKED = ['crt1.o', 'crti.o', 'crtn.o', 'libc.so', 'libc_nonshared.a', 'tcc']

const moduleName = (i) => `module${i}`

/** @returns {Record<string, string>} contents by file name */
export function project() {
  const files = {}
  const declarations = []
  for (let i = 0; i < FILES; i++) {
    const functions = Array.from(
      { length: FUNCTIONS },
      (_, j) => `static int f${j}(int x) { return (x * ${i + 2} + ${j + 1}) % ${MODULUS}; }`,
    )
    const calls = Array.from({ length: FUNCTIONS }, (_, j) => `  x = f${j}(x);`)
    files[`${moduleName(i)}.c`] =
      `#include <stdio.h>\n#include "project.h"\n${functions.join('\n')}\nint ${moduleName(i)}(int x)\n{\n${calls.join('\n')}\n  return x;\n}\n`
    declarations.push(`int ${moduleName(i)}(int x);`)
  }
  files['project.h'] = `${declarations.join('\n')}\n`
  const all = Array.from({ length: FILES }, (_, i) => `  x = ${moduleName(i)}(x);`)
  files['main.c'] =
    `#include <stdio.h>\n#include "project.h"\nint main(void)\n{\n  int x = 1;\n${all.join('\n')}\n  printf("result %d\\n", x);\n  return 0;\n}\n`
  return files
}

/** What the program prints when it is what was written. */
export function projectResult() {
  let x = 1
  for (let i = 0; i < FILES; i++) {
    for (let j = 0; j < FUNCTIONS; j++) x = (x * (i + 2) + (j + 1)) % MODULUS
  }
  return `result ${x}`
}

/** Beside the project: where it fails to be read, nothing at all would be built. */
const MAKEFILE = `objects := $(patsubst %.c,%.o,$(sort $(wildcard *.c)))
program: $(objects)
\ttcc -o $@ $(objects)
%.o: %.c project.h
\ttcc -c -o $@ $<
`

/** @param {string} said by make and the compiler @returns {{ failed: number, messages: string[] }} steps that failed, and the different errors */
export function buildErrors(said) {
  const lines = said.split('\n')
  const failed = lines.filter((text) => /^make: \*\*\* \[.*\] Error/.test(text)).length
  const errors = lines.filter((text) => /error/i.test(text) && !/^make: (\*\*\*|Target)/.test(text))
  const messages = new Set(errors.map((text) => text.split(': ').at(-1).trim()))
  return { failed, messages: [...messages] }
}

/** @type {import('./applications.mjs').Application} */
export const build = {
  ...{ name: 'build', profile: 'apps', unit: 'seconds', lowerIsBetter: true },
  title: 'A build (make and tcc)',
  series: ['seconds'],
  what: `\`make -k -j${JOBS}\` compiles ${FILES + 1} C files with tcc and links them: ${STEPS} steps, of which one that fails ends no other; the program is linked when all compilations are done. Compiler and headers come from a read-only pass-through mount without rules.`,

  /** Once: the compiler's files where it looks for them. */
  async install({ guest, tools }) {
    const links = LINKED.map((name) => `ln -s ${tools}${LIBRARIES}/${name} ${LIBRARIES}/${name}`)
    await guest.sh(
      [
        `ln -s ${tools}/lib/x86_64-linux-gnu/{libdl.so.2,libpthread.so.0} ${LIBRARIES}/`,
        `ln -s ${tools}/usr/include /usr/include`,
        ...links,
        `ln -s ${tools}/usr/bin/{tcc,make} /usr/bin/`,
      ].join('\n'),
    )
  },

  async prepare({ guest, directory, hostDirectory }) {
    mkdirSync(hostDirectory)
    const hourAgo = Date.now() / 1000 - 3600
    for (const [name, content] of Object.entries(project())) {
      const file = path.join(hostDirectory, name)
      writeFileSync(file, content)
      // The guest's clock may be a little behind.
      utimesSync(file, hourAgo, hourAgo)
    }
    await guest.sh(`cd ${directory}; cat > /tmp/Makefile <<'END'\n${MAKEFILE}END`)
  },

  async run({ guest, directory }) {
    const command = `make -k -j${JOBS} -f /tmp/Makefile > /tmp/said 2>&1 || true`
    const output = await guest.sh(`cd ${directory}; ${TIMED(command)}; cat /tmp/said`, RUN_TIMEOUT_MS)
    const { seconds, rest } = secondsOf(output)
    if (!/^(tcc -|make: \*\*\*)/m.test(rest)) throw new SetupError(`make did not run:\n${rest}`)
    return { rates: { seconds }, seconds, attempted: STEPS, ...buildErrors(rest) }
  },

  async check({ guest, directory }, { failed }) {
    const output = await guest.sh(
      `cd ${directory}; if [ -e program ]; then cp program /tmp; chmod +x /tmp/program; /tmp/program 2>&1 || true; fi`,
    )
    const said = output.trim()
    const isRight = said === projectResult()
    if (said === '') return { isSound: failed > 0, note: 'no program' }
    return {
      isSound: isRight,
      note: isRight ? 'the program runs' : `the program says "${said.slice(0, 100)}"`,
    }
  },
}
