/** What programs do with files, for tests that disturb them at every moment. */
import type { ReferenceStore } from '../reference-store/reference-store.js'
import { O_APPEND, O_CREAT, O_EXCL, O_RDONLY, O_RDWR, O_TRUNC, type Guest } from './guest.js'

/** More than a part of the reference store, less than two. */
const MIDDLE_BYTES = 10_000
/** A stream begins at two parts. */
const STREAM_PIECES = 7
const PIECE_BYTES = 4096
/** The smallest that is copied within a store. */
const COPY_BYTES = 128 << 10
/** The smallest that is appended to. */
const APPEND_BYTES = 1 << 20

export interface Scenario {
  readonly name: string
  /** Stored before it begins; each file of another capital letter. */
  readonly stored?: Readonly<Record<string, number>>
  readonly directories?: readonly string[]
  /** What others may change meanwhile. */
  readonly disturbed: readonly string[]
  readonly writeBack?: boolean
  /** Default: the reference store's. */
  readonly partSizeBytes?: number
  readonly needs?: 'append' | 'copy' | 'attributes'
  run(guest: Guest): Promise<void>
}

export function prepare(scenario: Scenario, store: ReferenceStore): void {
  for (const path of scenario.directories ?? []) store.directories.add(path)
  Object.entries(scenario.stored ?? {}).forEach(([path, sizeBytes], index) => {
    store.outsideWrite(path, Buffer.alloc(sizeBytes, 0x41 + index))
  })
}

async function stream(guest: Guest, path: string, flags: number): Promise<void> {
  const file = await guest.open(path, flags)
  for (let piece = 0; piece < STREAM_PIECES; piece++)
    await guest.write(file, piece * PIECE_BYTES, PIECE_BYTES)
  await guest.fsync(file)
  await guest.close(file)
}

export const SCENARIOS: readonly Scenario[] = [
  {
    name: 'a new file',
    disturbed: ['new'],
    run: async (guest) => {
      const file = await guest.open('new', O_RDWR | O_CREAT | O_EXCL)
      await guest.write(file, 0, 100)
      await guest.fsync(file)
      await guest.write(file, 50, 100)
      await guest.close(file)
    },
  },
  {
    name: 'a new file with two syncs before its close',
    disturbed: ['new'],
    run: async (guest) => {
      const file = await guest.open('new', O_RDWR | O_CREAT)
      await guest.write(file, 0, 100)
      await guest.fsync(file)
      await guest.fsync(file)
      await guest.close(file)
    },
  },
  {
    name: 'a stored file is changed',
    stored: { old: 200 },
    disturbed: ['old'],
    run: async (guest) => {
      const file = await guest.open('old', O_RDWR)
      await guest.read(file, 0, 50)
      await guest.write(file, 20, 10)
      await guest.fsync(file)
      await guest.write(file, 40, 10)
      await guest.fsync(file)
      await guest.fsync(file)
      await guest.read(file, 0, 300)
      await guest.close(file)
    },
  },
  {
    name: 'a stored file of several parts is changed in the middle',
    stored: { old: 3 * MIDDLE_BYTES },
    disturbed: ['old'],
    run: async (guest) => {
      const file = await guest.open('old', O_RDWR)
      await guest.write(file, MIDDLE_BYTES, 10)
      await guest.fsync(file)
      await guest.write(file, 2 * MIDDLE_BYTES, 10)
      await guest.close(file)
      const again = await guest.open('old', O_RDONLY)
      await guest.read(again, 0, 4 * MIDDLE_BYTES)
      await guest.close(again)
    },
  },
  {
    name: 'a stored file is written anew',
    stored: { old: 200 },
    disturbed: ['old'],
    run: async (guest) => {
      const file = await guest.open('old', O_RDWR | O_TRUNC)
      await guest.write(file, 0, 100)
      await guest.flush(file)
      await guest.write(file, 100, 10)
      await guest.close(file)
    },
  },
  {
    name: 'two descriptors of one file',
    stored: { old: 200 },
    disturbed: ['old'],
    run: async (guest) => {
      const one = await guest.open('old', O_RDWR)
      const other = await guest.open('old', O_RDWR)
      await guest.write(one, 0, 10)
      await guest.fsync(one)
      await guest.write(other, 20, 10)
      await guest.fsync(other)
      await guest.close(one)
      await guest.close(other)
    },
  },
  {
    name: 'truncate by path',
    stored: { old: 3 * MIDDLE_BYTES },
    disturbed: ['old'],
    run: async (guest) => {
      await guest.truncate('old', 100)
      await guest.truncate('old', 2 * MIDDLE_BYTES)
      const file = await guest.open('old', O_RDONLY)
      await guest.read(file, 0, 200)
      await guest.close(file)
    },
  },
  {
    name: 'a small file is appended to',
    stored: { old: 200 },
    disturbed: ['old'],
    run: async (guest) => {
      for (let round = 0; round < 2; round++) {
        const file = await guest.open('old', O_RDWR | O_APPEND)
        await guest.write(file, 0, 10)
        await guest.close(file)
      }
    },
  },
  {
    name: 'a large file is appended to',
    needs: 'append',
    partSizeBytes: 256 << 10,
    stored: { old: APPEND_BYTES },
    disturbed: ['old'],
    run: async (guest) => {
      const file = await guest.open('old', O_RDWR | O_APPEND)
      await guest.write(file, 0, MIDDLE_BYTES)
      await guest.fsync(file)
      await guest.write(file, 0, 10)
      await guest.close(file)
    },
  },
  {
    name: 'a new file in a stream',
    disturbed: ['new'],
    run: (guest) => stream(guest, 'new', O_RDWR | O_CREAT),
  },
  {
    name: 'a stored file is written anew in a stream',
    stored: { old: 3 * MIDDLE_BYTES },
    disturbed: ['old'],
    run: (guest) => stream(guest, 'old', O_RDWR | O_TRUNC),
  },
  {
    name: 'a rename to a free name',
    stored: { a: 200 },
    disturbed: ['a', 'b'],
    run: async (guest) => {
      const file = await guest.open('a', O_RDWR)
      await guest.write(file, 10, 10)
      await guest.rename('a', 'b')
      await guest.write(file, 30, 10)
      await guest.fsync(file)
      await guest.close(file)
    },
  },
  {
    name: 'a rename over a closed file',
    stored: { a: 200, b: 300 },
    disturbed: ['a', 'b'],
    run: async (guest) => {
      await guest.rename('a', 'b')
      const file = await guest.open('b', O_RDWR)
      await guest.write(file, 30, 10)
      await guest.close(file)
    },
  },
  {
    name: 'a rename over an open file',
    stored: { a: 200, b: 300 },
    disturbed: ['a', 'b'],
    run: async (guest) => {
      const replaced = await guest.open('b', O_RDWR)
      await guest.rename('a', 'b')
      await guest.read(replaced, 0, 400)
      await guest.write(replaced, 0, 10)
      await guest.close(replaced)
    },
  },
  {
    name: 'a new file takes the place of a stored one',
    stored: { old: 200 },
    disturbed: ['old', 'old.tmp'],
    run: async (guest) => {
      const file = await guest.open('old.tmp', O_RDWR | O_CREAT | O_EXCL)
      await guest.write(file, 0, 100)
      await guest.rename('old.tmp', 'old')
      await guest.fsync(file)
      await guest.close(file)
    },
  },
  {
    name: 'a closed file takes the place of a stored one',
    stored: { old: 200 },
    disturbed: ['old', 'old.tmp'],
    run: async (guest) => {
      const file = await guest.open('old.tmp', O_RDWR | O_CREAT | O_EXCL)
      await guest.write(file, 0, 100)
      await guest.close(file)
      await guest.rename('old.tmp', 'old')
    },
  },
  {
    name: 'a closed file is removed',
    stored: { old: 200 },
    disturbed: ['old'],
    run: async (guest) => {
      await guest.unlink('old')
      const file = await guest.open('old', O_RDWR | O_CREAT | O_EXCL)
      await guest.write(file, 0, 10)
      await guest.close(file)
    },
  },
  {
    name: 'an open file is removed',
    stored: { old: 200 },
    disturbed: ['old'],
    run: async (guest) => {
      const file = await guest.open('old', O_RDWR)
      await guest.write(file, 0, 10)
      await guest.unlink('old')
      await guest.read(file, 0, 200)
      await guest.write(file, 50, 10)
      await guest.close(file)
    },
  },
  {
    name: 'a directory with files is renamed',
    directories: ['d'],
    stored: { 'd/a': 200, 'd/b': 300 },
    disturbed: ['d/a', 'd/c', 'e/a'],
    run: async (guest) => {
      const file = await guest.open('d/a', O_RDWR)
      await guest.write(file, 0, 10)
      await guest.rename('d', 'e')
      await guest.fsync(file)
      await guest.write(file, 20, 10)
      await guest.close(file)
    },
  },
  {
    name: 'directories come and go',
    disturbed: ['d/a', 'd'],
    run: async (guest) => {
      await guest.mkdir('d')
      const file = await guest.open('d/b', O_RDWR | O_CREAT)
      await guest.write(file, 0, 10)
      await guest.close(file)
      await guest.unlink('d/b')
      await guest.rmdir('d')
    },
  },
  {
    name: 'a time is set',
    stored: { old: 200 },
    disturbed: ['old'],
    run: async (guest) => {
      await guest.utimens('old')
      const file = await guest.open('old', O_RDWR)
      await guest.read(file, 0, 300)
      await guest.write(file, 0, 10)
      await guest.utimens('old')
      await guest.fsync(file)
      await guest.utimens('old')
      await guest.write(file, 20, 10)
      await guest.close(file)
    },
  },
  {
    name: 'a mode is set',
    needs: 'attributes',
    stored: { old: 200 },
    disturbed: ['old'],
    run: async (guest) => {
      const file = await guest.open('old', O_RDWR)
      await guest.chmod('old', 0o600)
      await guest.write(file, 0, 10)
      await guest.chmod('old', 0o640)
      await guest.fsync(file)
      await guest.chmod('old', 0o644)
      await guest.write(file, 20, 10)
      await guest.close(file)
    },
  },
  {
    name: 'a file is copied',
    needs: 'copy',
    stored: { old: COPY_BYTES },
    disturbed: ['old', 'copy'],
    run: async (guest) => {
      const from = await guest.open('old', O_RDONLY)
      const to = await guest.open('copy', O_RDWR | O_CREAT)
      await guest.copy(from, to, COPY_BYTES)
      await guest.write(to, 0, 10)
      await guest.close(to)
      await guest.close(from)
    },
  },
  {
    name: 'a file is read in pieces',
    stored: { old: 50 * MIDDLE_BYTES },
    disturbed: ['old'],
    run: async (guest) => {
      const file = await guest.open('old', O_RDONLY)
      for (let piece = 0; piece < 10; piece++)
        await guest.read(file, piece * 5 * MIDDLE_BYTES, 5 * MIDDLE_BYTES)
      await guest.close(file)
    },
  },
  {
    name: 'write-back of a changed and of a new file',
    writeBack: true,
    stored: { old: 200 },
    disturbed: ['old', 'new'],
    run: async (guest) => {
      const changed = await guest.open('old', O_RDWR)
      await guest.write(changed, 0, 10)
      await guest.close(changed)
      const made = await guest.open('new', O_RDWR | O_CREAT)
      await guest.write(made, 0, 10)
      await guest.close(made)
      await guest.syncAll()
      const again = await guest.open('old', O_RDWR)
      await guest.write(again, 20, 10)
      await guest.close(again)
      await guest.syncAll()
    },
  },
]
