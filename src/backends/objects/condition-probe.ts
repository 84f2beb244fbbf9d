/**
 * Which conditions a store honours is asked for by trying them, on an object of our own in the reserved directory: some
 * servers refuse a header that they do not know (501), others take no notice of it, and then somebody else's change would
 * be overwritten without a word. Asked when a change first relies on it, and once.
 */
import { RESERVED_DIRECTORY, type ConditionKind, type StoreConditions } from '../backend.js'
import { toStorageError, type StorageError } from '../storage-error.js'
import { newWriteMark } from '../write-mark.js'
import { isGone, ownIdentity, parseIdentity, type ProcessIdentity } from '../process-identity.js'
import type { ObjectClient, ObjectHead } from './object-client.js'

export const PROBE_PREFIX = 'probe-'

type Condition = keyof StoreConditions

/** A version that no object has. */
const NO_VERSION = `"${'0'.repeat(32)}"`
/** Says whose it is. */
const CONTENTS = Buffer.from(JSON.stringify(ownIdentity()))
const MAX_CONTENTS_BYTES = 4096
const NO_METADATA = {}
/** By the server's clock and ours, which may differ by hours. */
const ABANDONED_AFTER_MS = 24 * 60 * 60_000
const MS_PER_SECOND = 1000

export class ConditionProbe {
  private readonly asked = new Map<Condition, Promise<ConditionKind | null>>()
  private known: StoreConditions

  constructor(private readonly client: ObjectClient) {
    this.known = client.conditions
  }

  /** What is known by now. */
  get conditions(): StoreConditions {
    return this.known
  }

  /**
   * "unknown" where it can't be tried: for ever where it is not allowed to, for now where the store is away or busy. Never
   * rejects: what is asked for without an answer is looked at, and sent with the condition all the same.
   */
  async of(condition: Condition): Promise<ConditionKind> {
    const known = this.known[condition]
    if (known !== 'unknown') return known
    let answer = this.asked.get(condition)
    if (answer === undefined) {
      answer = this.ask(condition)
      this.asked.set(condition, answer)
    }
    const kind = await answer
    if (kind !== null) {
      // Not before it is known whether a request has shown meanwhile that the server does not.
      if (this.known[condition] === 'unknown') this.known = { ...this.known, [condition]: kind }
      return this.known[condition]
    }
    if (this.asked.get(condition) === answer) this.asked.delete(condition)
    return 'unknown'
  }

  /** Remove what probes have left whose daemon was killed: others last for a few requests only. */
  async removeLeft(reservedNames: readonly string[]): Promise<void> {
    for (const name of reservedNames.filter((each) => each.startsWith(PROBE_PREFIX))) {
      const key = `${RESERVED_DIRECTORY}/${name}`
      const head = await this.client.head(key)
      if (head !== null && (await this.isLeft(key, head))) await this.client.delete(key)
    }
  }

  private async isLeft(key: string, { mtime, sizeBytes, version }: ObjectHead): Promise<boolean> {
    if (Date.now() - (mtime?.seconds ?? Infinity) * MS_PER_SECOND > ABANDONED_AFTER_MS) return true
    if (sizeBytes === 0 || sizeBytes > MAX_CONTENTS_BYTES) return false
    const owner = parseContents(await this.client.read(key, 0, sizeBytes, version))
    return owner !== null && isGone(owner)
  }

  /** The server has refused it after all. */
  note(condition: Condition, kind: ConditionKind): void {
    this.known = { ...this.known, [condition]: kind }
  }

  /** null where the store has to be asked again. */
  private async ask(condition: Condition): Promise<ConditionKind | null> {
    const key = `${RESERVED_DIRECTORY}/${PROBE_PREFIX}${newWriteMark()}`
    try {
      return await this.tryOn(key, condition)
    } catch (error) {
      const { retryable, errno } = toStorageError(error)
      // Not allowed below that name, say.
      return retryable && errno !== 'EACCES' ? null : 'unknown'
    } finally {
      await this.client.delete(key).catch(() => undefined)
    }
  }

  private async tryOn(key: string, condition: Condition): Promise<ConditionKind> {
    const { client } = this
    const plain = { condition: undefined, metadata: NO_METADATA }
    const version = await client.put(key, CONTENTS, plain)
    switch (condition) {
      case 'create':
        return kindOf(await refusalOf(client.put(key, CONTENTS, { ...plain, condition: null })))
      case 'replace':
        return this.tryReplacing(key, version)
      case 'copy':
        return kindOf(
          await refusalOf(
            client.copy({ key, version, sizeBytes: CONTENTS.byteLength }, `${key}-copy`, {
              ...{ condition: NO_VERSION, metadata: null },
            }),
            () => client.delete(`${key}-copy`),
          ),
        )
      case 'complete':
        return this.tryCompleting(key)
      case 'remove':
        return kindOf(await refusalOf(client.delete(key, NO_VERSION)))
    }
  }

  private async tryReplacing(key: string, version: string): Promise<ConditionKind> {
    const replace = (condition: string): Promise<StorageError | null> =>
      refusalOf(this.client.put(key, CONTENTS, { condition, metadata: NO_METADATA }))
    if (kindOf(await replace(NO_VERSION)) === 'look') return 'look'
    if ((await replace(version)) === null) return 'server'
    this.client.useBareEtags?.()
    const isRefused = kindOf(await replace(NO_VERSION)) === 'server'
    return isRefused && (await replace(version)) === null ? 'server' : 'look'
  }

  private async tryCompleting(key: string): Promise<ConditionKind> {
    const upload = await this.client.beginUpload(key, NO_METADATA)
    try {
      await upload.append(1, CONTENTS)
      const refusal = await refusalOf(upload.complete(null))
      if (refusal === null) await upload.finish()
      else await upload.abort()
      return kindOf(refusal)
    } catch (error) {
      await upload.abort()
      throw error
    }
  }
}

function parseContents(data: Uint8Array): ProcessIdentity | null {
  try {
    return parseIdentity(JSON.parse(Buffer.from(data).toString('utf8')))
  } catch {
    return null
  }
}

/** null where it was done all the same, in which case `undo` takes it back. */
async function refusalOf(work: Promise<unknown>, undo?: () => Promise<void>): Promise<StorageError | null> {
  try {
    await work
  } catch (error) {
    const failure = toStorageError(error)
    if (failure.retryable || failure.outcome === 'unknown') throw failure
    return failure
  }
  await undo?.()
  return null
}

/** Refused for the condition: the server keeps it. Done all the same, or refused for the header itself: it does not. */
function kindOf(refusal: StorageError | null): ConditionKind {
  return refusal?.errno === 'ESTALE' || refusal?.errno === 'EEXIST' ? 'server' : 'look'
}
