// Prometheus, of Debian's package, for the test of the metrics and the dashboard; in .cache/prometheus.
import { existsSync, renameSync, rmSync } from 'node:fs'
import path from 'node:path'
import { fetchPackages, unpackPackage } from './debian.mjs'
import { fingerprint, readStamp, writeStamp } from './fingerprint.mjs'
import { cacheDir } from './paths.mjs'
import { SetupError, step } from './steps.mjs'

/** Its dependencies are libraries of its web pages, which nobody looks at, and the C library. */
const PACKAGES = ['prometheus']
const NEEDED_FILES = ['usr/bin/prometheus', 'usr/bin/promtool']

const prometheusDir = path.join(cacheDir, 'prometheus')

/** Fetch and unpack it, if it is missing or out of date. */
export async function ensurePrometheus() {
  const stampFile = path.join(prometheusDir, '.stamp')
  const key = fingerprint([], ...PACKAGES)
  if (readStamp(stampFile) === key) return
  await step('fetching Prometheus', async () => {
    const debsDir = `${prometheusDir}-debs`
    const fresh = `${prometheusDir}.new`
    const debs = await fetchPackages(PACKAGES, debsDir)
    rmSync(fresh, { recursive: true, force: true })
    for (const deb of debs) await unpackPackage(deb, fresh)
    for (const file of NEEDED_FILES) {
      if (!existsSync(path.join(fresh, file))) throw new SetupError(`the fetched packages have no /${file}`)
    }
    rmSync(prometheusDir, { recursive: true, force: true })
    renameSync(fresh, prometheusDir)
    rmSync(debsDir, { recursive: true, force: true })
  })
  writeStamp(stampFile, key)
}
