/** A pass-through mount of a new directory of the host. */
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { FuseError } from '../../frontend/fuse-client.js'
import type { Store } from '../../support/store.js'

export interface PassthroughSpec {
  readonly xattr?: boolean
  readonly directIo?: boolean
  readonly announceSubmounts?: boolean
  /** Of the profile, as they are written there. */
  readonly options?: Readonly<Record<string, string>>
  /** Default: a new directory, removed in the end. */
  readonly root?: string
}

export function passthroughStore(spec: PassthroughSpec = {}): Pick<Store, 'prepare'> {
  return {
    prepare: () => {
      const root = spec.root ?? mkdtempSync(join(tmpdir(), 'ovfsd-passthrough-'))
      return Promise.resolve({
        type: 'passthrough',
        options: {
          root,
          ...(spec.xattr === undefined ? {} : { xattr: String(spec.xattr) }),
          ...(spec.announceSubmounts === true ? { announce_submounts: 'true' } : {}),
          ...spec.options,
          ...(spec.directIo === undefined ? {} : { direct_io: String(spec.directIo) }),
        },
        view: null,
        hostDirectory: root,
        dispose: () => {
          if (spec.root === undefined) rmSync(root, { recursive: true, force: true })
          return Promise.resolve()
        },
      })
    },
  }
}

/** Making files of other owners, and devices, is for root. */
export const NOT_ROOT = process.geteuid?.() === 0 ? false : 'only root can make files of other owners'

/** The code of what a call of node:fs throws; 'OK' when it does not. */
export function hostCodeOf(call: () => unknown): string {
  try {
    call()
    return 'OK'
  } catch (error) {
    const { errno } = error as { readonly errno?: number }
    if (errno === undefined) throw error
    return new FuseError(Math.abs(errno), '').code
  }
}
