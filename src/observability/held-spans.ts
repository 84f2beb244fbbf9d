import type { Context, Span } from '@opentelemetry/api'
import type { ReadableSpan, SpanProcessor } from '@opentelemetry/sdk-trace'
import { createContextKey } from '@opentelemetry/api'

/** Spans of one request that wait for its end. Removing a tree makes thousands, of which nobody looks at the last. */
const HELD_SPANS_MAX = 1000

/** The spans of one request, which are sent or not when it has ended. */
export class HeldSpans {
  private spans: ReadableSpan[] = []
  private isSent: boolean | null = null

  constructor(
    private readonly send: (span: ReadableSpan) => void,
    private readonly drop: () => void,
  ) {}

  add(span: ReadableSpan): void {
    if (this.isSent === true) this.send(span)
    else if (this.isSent === null && this.spans.length < HELD_SPANS_MAX) this.spans.push(span)
    else if (this.isSent === null) this.drop()
  }

  /** The request has ended; what it leaves running goes the same way. */
  decide(isSent: boolean): void {
    this.isSent = isSent
    if (isSent) for (const span of this.spans) this.send(span)
    this.spans = []
  }
}

const HELD_KEY = createContextKey('the spans of its request')

/** The context in which spans begin that are held. */
export function withHeld(context: Context, held: HeldSpans): Context {
  return context.setValue(HELD_KEY, held)
}

/** Keeps the spans that end until it is known what becomes of their request. */
export class HoldingProcessor implements SpanProcessor {
  private readonly heldOf = new WeakMap<object, HeldSpans>()

  onStart(span: Span, parent: Context): void {
    const held = parent.getValue(HELD_KEY)
    if (held instanceof HeldSpans) this.heldOf.set(span, held)
  }

  onEnd(span: ReadableSpan): void {
    this.heldOf.get(span)?.add(span)
  }

  forceFlush(): Promise<void> {
    return Promise.resolve()
  }

  shutdown(): Promise<void> {
    return Promise.resolve()
  }
}
