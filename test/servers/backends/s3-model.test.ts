/** The model test over a real S3 (Ceph's): fewer steps, since each is several requests. */
import { after, before } from 'node:test'
import { createBackend } from '../../../src/backends/create-backend.js'
import { compareWithReference } from '../../lib/model/run.js'
import { startCeph, type Ceph } from '../ceph.js'

const STEPS = Number(process.env['OVFSD_MODEL_STEPS'] ?? 300)
const TIMEOUT_MS = 60_000

let ceph: Ceph
let runs = 0
before(async () => {
  ceph = await startCeph()
})
after(() => ceph.stop())

compareWithReference(
  {
    name: 's3',
    make: () => {
      const { endpoint, bucket, region, accessKeyId, secretAccessKey } = ceph
      const options = {
        endpoint,
        bucket,
        region,
        access_key_id: accessKeyId,
        secret_access_key: secretAccessKey,
        root: `/run-${runs++}`,
      }
      return {
        backend: createBackend({ type: 's3', options, timeoutMs: TIMEOUT_MS }),
        leftOver: () => [],
      }
    },
  },
  STEPS,
)
