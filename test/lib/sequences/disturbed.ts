/** A scenario run once, disturbed at one place, and once for each place at which it could be. */
import { REFERENCE_PART_BYTES, ReferenceBackend } from '../reference-store/reference-backend.js'
import type { Call, Fault } from '../reference-store/faults.js'
import type { ReferenceStore } from '../reference-store/reference-store.js'
import { Guest } from './guest.js'
import { prepare, type Scenario } from './scenarios.js'
import type { StoreKind } from './stores.js'

/** Somebody else's change. */
export interface Act {
  readonly name: string
  run(store: ReferenceStore): void
}

export interface Disturbance {
  /** Before the call of this number. */
  readonly at: number
  readonly act?: Act
  /** What becomes of that call; `act` comes after it then. */
  readonly fault?: Fault
}

export interface DisturbedRun {
  readonly calls: readonly Call[]
  readonly violations: readonly string[]
  readonly errors: Guest['errors']
  report(): string
}

/** `disturbance`: null for none. */
export async function runDisturbed(
  scenario: Scenario,
  kind: StoreKind,
  disturbance: Disturbance | null,
  expirationMs: number,
): Promise<DisturbedRun> {
  const { partSizeBytes = REFERENCE_PART_BYTES } = scenario
  const backend = new ReferenceBackend({ ...kind.options, partSizeBytes })
  prepare(scenario, backend.store)
  const guest = new Guest({ backend, expirationMs, writeBack: scenario.writeBack ?? false })
  let isDue = disturbance?.act !== undefined
  const act = (): void => {
    isDue = false
    guest.trace.push(`-- ${disturbance?.act?.name ?? ''}`)
    disturbance?.act?.run(backend.store)
  }
  backend.before = (call) => {
    const { at, fault } = disturbance ?? { at: Infinity }
    if (isDue && call.index >= (fault === undefined ? at : at + 1)) act()
    guest.trace.push(`  > ${call.method} ${call.path}`)
  }
  backend.script = (call) => {
    if (call.index !== disturbance?.at || disturbance.fault === undefined) return null
    guest.trace.push(`  ! ${JSON.stringify(disturbance.fault)}`)
    return disturbance.fault
  }
  await scenario.run(guest)
  await guest.finish()
  return {
    calls: backend.calls,
    violations: guest.violations,
    errors: guest.errors,
    report: () => guest.report(),
  }
}

/** What others may do to a file: letters that nobody else has. */
export function actsOn(path: string): Act[] {
  return [
    {
      name: `somebody replaces ${path}`,
      run: (store) => {
        store.outsideWrite(path, Buffer.alloc(250, 'X'))
      },
    },
    {
      name: `somebody appends to ${path}`,
      run: (store) => {
        const before = store.objects.get(path)?.data ?? Buffer.alloc(0)
        store.outsideWrite(path, Buffer.concat([before, Buffer.alloc(20, 'Y')]))
      },
    },
    {
      name: `somebody removes ${path}`,
      run: (store) => {
        store.outsideRemove(path)
      },
    },
  ]
}
