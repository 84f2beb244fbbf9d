import { holdingNothing } from './lock-order.js'

/**
 * Where the work of a request is shown as spans. While nothing is traced it costs a comparison with null, and the SDK behind it
 * (tracing.ts) is not loaded.
 */

/** The operation of what no request of the guest asks for, in filters. */
export const BACKGROUND_OPERATION = 'background'

export type SpanAttributes = Readonly<Record<string, string | number | boolean | undefined>>

/** What a span is about. */
export interface SpanSubject {
  /** The profile's name. */
  readonly mount: string
  /** In the guest's tree: "/s3/a/b". */
  readonly path: string
  /** Of the span, beside these; undefined ones are left out. */
  readonly attributes?: SpanAttributes
  /** What is known only when the work has succeeded. */
  readonly result?: (value: unknown) => SpanAttributes
}

/** Makes spans of work. `work` is called at once, once, and its promise is what is returned. */
export interface SpanMaker {
  /** A child of the span that the caller runs in; a trace of its own where there is none. */
  child<T>(name: string, subject: () => SpanSubject, work: () => Promise<T>): Promise<T>
  /** A trace of its own, with a link to the span that the caller runs in. */
  apart<T>(name: string, subject: () => SpanSubject, work: () => Promise<T>): Promise<T>
}

let maker: SpanMaker | null = null

/** From now on spans are made by it; null: by nobody. One at a time in a process. */
export function setSpanMaker(next: SpanMaker | null): void {
  maker = next
}

/** Whether anything is traced. */
export function isTracing(): boolean {
  return maker !== null
}

/** Do a part of a request's work. */
export function traced<T>(name: string, subject: () => SpanSubject, work: () => Promise<T>): Promise<T> {
  return maker === null ? work() : maker.child(name, subject, work)
}

/** Do what goes on without the request that began it, or what no request began. */
export function tracedApart<T>(name: string, subject: () => SpanSubject, work: () => Promise<T>): Promise<T> {
  const apart = maker
  return holdingNothing(() => (apart === null ? work() : apart.apart(name, subject, work)))
}

/** A mount, as the subjects of spans name it. */
export class TracedPlace {
  private readonly mountPath: string

  /** `mountPoint`: names from the root of the guest's tree. */
  constructor(
    readonly mount: string,
    mountPoint: readonly string[],
  ) {
    this.mountPath = mountPoint.map((name) => `/${name}`).join('')
  }

  /** `path`: in the mount, without a leading "/". */
  subject(path: string, more: Pick<SpanSubject, 'attributes' | 'result'> = {}): SpanSubject {
    const whole = path === '' ? this.mountPath : `${this.mountPath}/${path}`
    return { mount: this.mount, path: whole === '' ? '/' : whole, ...more }
  }
}

/** Of what belongs to no mount. */
export const NO_PLACE = new TracedPlace('', [])
