import {
  BURST_REPORT_NUMBERS,
  META_STRIDE_WORDS,
  REPLY_STRIDE_BYTES,
  REQUEST_STRIDE_BYTES,
  RUN_NUMBERS,
  type NativeDevice,
} from './native.js'

const BYTES_PER_WORD = 4

/** The addon's arena as typed arrays, made once. Slots are indexed by the word at which their parts begin. */
export class Arena {
  readonly words: Uint32Array
  readonly signedWords: Int32Array
  readonly bytes: Buffer
  readonly ready: Uint32Array
  readonly done: Uint32Array
  /** See ArenaLayout.burstOffset. */
  readonly burst: Float64Array
  private readonly requestWord: number
  private readonly replyWord: number
  private readonly metaWord: number

  constructor({ arena, layout }: Pick<NativeDevice, 'arena' | 'layout'>, slots: number) {
    this.words = new Uint32Array(arena)
    this.signedWords = new Int32Array(arena)
    this.bytes = Buffer.from(arena)
    this.ready = new Uint32Array(arena, layout.readyOffset, slots)
    this.done = new Uint32Array(arena, layout.doneOffset, slots)
    this.burst = new Float64Array(arena, layout.burstOffset, BURST_REPORT_NUMBERS + slots * RUN_NUMBERS)
    this.requestWord = layout.requestOffset / BYTES_PER_WORD
    this.replyWord = layout.replyOffset / BYTES_PER_WORD
    this.metaWord = layout.metaOffset / BYTES_PER_WORD
  }

  requestWordOf(slot: number): number {
    return this.requestWord + slot * (REQUEST_STRIDE_BYTES / BYTES_PER_WORD)
  }

  replyWordOf(slot: number): number {
    return this.replyWord + slot * (REPLY_STRIDE_BYTES / BYTES_PER_WORD)
  }

  metaWordOf(slot: number): number {
    return this.metaWord + slot * META_STRIDE_WORDS
  }
}
