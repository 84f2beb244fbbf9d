/** The model test over a real HDFS: fewer steps, since each is several requests. */
import { after, before, describe, test } from 'node:test'
import { RESERVED_DIRECTORY } from '../../../src/backends/backend.js'
import { createBackend } from '../../../src/backends/create-backend.js'
import { compareWithReference } from '../../lib/model/run.js'
import { WebHdfsClient } from '../clients.js'
import { hdfsProblem, startHdfs, type Hdfs } from '../hdfs.js'

const STEPS = Number(process.env['OVFSD_MODEL_STEPS'] ?? 150)
const TIMEOUT_MS = 60_000

const problem = hdfsProblem()
if (problem === null) describe('HDFS', compare)
else test('HDFS', { skip: `NO HDFS TESTS: ${problem}` })

function compare(): void {
  let hdfs: Hdfs
  let runs = 0
  before(async () => {
    hdfs = await startHdfs()
  })
  after(() => hdfs.stop())

  compareWithReference(
    {
      name: 'hdfs',
      make: async () => {
        const { nameNode, httpEndpoint, user } = hdfs
        const root = `/run ${runs++}`
        const client = new WebHdfsClient({ endpoint: httpEndpoint, user })
        await client.mkdirs(root)
        const options = { name_node: nameNode, endpoint: httpEndpoint, user, root }
        return {
          backend: createBackend({ type: 'hdfs', options, timeoutMs: TIMEOUT_MS }),
          leftOver: () => client.tree(`${root}/${RESERVED_DIRECTORY}`),
        }
      },
    },
    STEPS,
  )
}
