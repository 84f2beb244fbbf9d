/** The model test over a real Swift: fewer steps, since each is several requests. */
import { after, before } from 'node:test'
import { RESERVED_DIRECTORY } from '../../../src/backends/backend.js'
import { createBackend } from '../../../src/backends/create-backend.js'
import { compareWithReference } from '../../lib/model/run.js'
import { SwiftClient } from '../clients.js'
import { startSwift, type Swift } from '../swift.js'

const STEPS = Number(process.env['OVFSD_MODEL_STEPS'] ?? 150)
const TIMEOUT_MS = 60_000

let swift: Swift
let runs = 0
before(async () => {
  swift = await startSwift()
})
after(() => swift.stop())

compareWithReference(
  {
    name: 'swift',
    make: () => {
      const { authUrl, user, key, container } = swift
      const root = `run ${runs++}`
      const options = { auth_url: authUrl, user, key, container, root }
      const hidden = `${root}/${RESERVED_DIRECTORY}/`
      return {
        backend: createBackend({ type: 'swift', options, timeoutMs: TIMEOUT_MS }),
        leftOver: () =>
          new SwiftClient(swift).names(hidden).then((names) => names.filter((name) => name !== hidden)),
      }
    },
  },
  STEPS,
)
