import type { Backend } from '../backends/backend.js'
import { dispose } from '../backends/disposable.js'
import type { RecordReader } from './record-reader.js'

/** Puts a recorded file together, from front to back: the staged bytes over those of the stored object, and zeros. */
export class RecordAssembler {
  private index = 0
  /** Of the first range that is not behind us, in the record's data. */
  private dataPosition = 0

  /** `version`: of the stored object that shows through at `path`; '' where none does. */
  constructor(
    private readonly backend: Backend,
    private readonly reader: RecordReader,
    private readonly path: string,
    private readonly version: string,
  ) {}

  /** Bytes [start, end) of the file; each call begins at or behind the end of the one before. */
  async part(start: number, end: number): Promise<Uint8Array> {
    const part = new Uint8Array(end - start)
    const pieces = this.piecesIn(start, end)
    await this.copyBase(part, start, end, pieces)
    for (const { low, high, position } of pieces) {
      part.set(await this.reader.read(position, high - low), low - start)
    }
    return part
  }

  /** Whether the staged bytes are in `data`, the file from `start` on. In order, as parts are. */
  async isWithin(data: Uint8Array, start: number): Promise<boolean> {
    let isSame = true
    for (const { low, high, position } of this.piecesIn(start, start + data.byteLength)) {
      const staged = await this.reader.read(position, high - low)
      isSame &&= staged.equals(data.subarray(low - start, high - start))
    }
    return isSame
  }

  private piecesIn(start: number, end: number): Piece[] {
    const { ranges } = this.reader.description
    const pieces: Piece[] = []
    for (;;) {
      const range = ranges[this.index]
      if (range === undefined || range[0] >= end) return pieces
      const low = Math.max(range[0], start)
      const high = Math.min(range[1], end)
      if (low < high) pieces.push({ low, high, position: this.dataPosition + low - range[0] })
      if (range[1] > end) return pieces
      this.dataPosition += range[1] - range[0]
      this.index++
    }
  }

  /** One read over all that the pieces leave: there may be very many of them. */
  private async copyBase(
    part: Uint8Array,
    start: number,
    end: number,
    pieces: readonly Piece[],
  ): Promise<void> {
    const baseEnd = Math.min(end, this.reader.description.baseLimit)
    let from = start
    let to = baseEnd
    for (const { low, high } of pieces) {
      if (low > from) break
      from = high
    }
    for (const { low, high } of [...pieces].reverse()) {
      if (high < to) break
      to = Math.min(to, low)
    }
    if (from >= to) return
    const data = await this.backend.read(this.path, from, to - from, this.version)
    part.set(data, from - start)
    dispose(data)
  }
}

/** Bytes [low, high) of the file stand at `position` of the record's data. */
interface Piece {
  readonly low: number
  readonly high: number
  readonly position: number
}
