/** Reads Prometheus's text format, as far as the daemon writes it. */
import assert from 'node:assert/strict'

export interface ExposedSample {
  readonly name: string
  readonly labels: Readonly<Record<string, string>>
  readonly value: number
}

export class Exposition {
  /** By the metric's name. */
  readonly types = new Map<string, string>()
  readonly samples: ExposedSample[] = []

  constructor(text: string) {
    for (const line of text.split('\n')) {
      const [, name, type] = /^# TYPE (\S+) (\S+)$/.exec(line) ?? []
      if (name !== undefined && type !== undefined) this.types.set(name, type)
      if (line === '' || line.startsWith('#')) continue
      const [, sample, labels = '', value] = /^(\w+)(?:\{(.*)\})? (\S+)$/.exec(line) ?? []
      assert.ok(sample !== undefined && value !== undefined, line)
      const pairs = [...labels.matchAll(/(\w+)="((?:[^"\\]|\\.)*)"/g)]
      this.samples.push({
        name: sample,
        labels: Object.fromEntries(pairs.map(([, key = '', text = '']) => [key, text])),
        value: value === '+Inf' ? Infinity : Number(value),
      })
    }
  }

  /** The sum of the series of this name that have these labels; 0 where there is none. */
  value(name: string, labels: Readonly<Record<string, string>> = {}): number {
    return this.all(name, labels).reduce((sum, { value }) => sum + value, 0)
  }

  all(name: string, labels: Readonly<Record<string, string>> = {}): ExposedSample[] {
    return this.samples.filter(
      (sample) =>
        sample.name === name && Object.entries(labels).every(([key, value]) => sample.labels[key] === value),
    )
  }
}
