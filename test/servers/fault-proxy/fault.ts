/** What the proxy does to the connections that go through it. Byte counts are those of the server's answers. */
export type Fault =
  /** RST as soon as `afterBytes` (0 if left out: at once) have come from the server. */
  | { readonly kind: 'reset'; readonly afterBytes?: number; readonly on?: ConnectionRange }
  /** RST as soon as `afterBytes` have come from the client: in the middle of an upload. */
  | { readonly kind: 'reset-upload'; readonly afterBytes: number; readonly on?: ConnectionRange }
  /** Accept, read, and never answer. */
  | { readonly kind: 'stall'; readonly on?: ConnectionRange }
  /** Pass on `afterBytes` of the answer and then nothing more, while the connection stays open. */
  | { readonly kind: 'blackhole'; readonly afterBytes: number; readonly on?: ConnectionRange }
  /** Close in the ordinary way (FIN) after `afterBytes` of the answer: a body that is too short. */
  | { readonly kind: 'cut'; readonly afterBytes: number; readonly on?: ConnectionRange }
  /** Hold every chunk, in both directions, for so long. */
  | { readonly kind: 'delay'; readonly delayMs: number; readonly on?: ConnectionRange }
  /** Pass on at most so many bytes a second, in each direction. */
  | { readonly kind: 'throttle'; readonly bytesPerSecond: number; readonly on?: ConnectionRange }

/** Which connections a fault is for: 1 is the first that is accepted after the fault was set. All if left out. */
export interface ConnectionRange {
  readonly first: number
  /** Inclusive; no end if left out. */
  readonly last?: number
}

export function concerns(fault: Fault, connection: number): boolean {
  const { on } = fault
  return on === undefined || (connection >= on.first && connection <= (on.last ?? Infinity))
}
