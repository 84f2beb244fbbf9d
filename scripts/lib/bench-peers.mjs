// What the benchmark compares ovfsd's S3 mounts with: s3fs and rclone from Debian's packages, unpacked into the cache.
import path from 'node:path'
import { fingerprint, readStamp, writeStamp } from './fingerprint.mjs'
import { LEFT_OUT, unpackTree } from './package-tree.mjs'
import { cacheDir } from './paths.mjs'
import { step } from './steps.mjs'

const PACKAGES = ['s3fs', 'rclone', 'fuse3']

export const peersRoot = path.join(cacheDir, 'bench-peers')
export const S3FS = path.join(peersRoot, 'usr/bin/s3fs')
export const RCLONE = path.join(peersRoot, 'usr/bin/rclone')
/**
 * All of the environment of a program from there: our proxies, credentials and certificates are none of its business.
 * rclone mounts through the `fusermount3` of its PATH.
 */
export const peerEnvironment = {
  PATH: `${path.join(peersRoot, 'usr/bin')}:${process.env.PATH ?? ''}`,
  HOME: peersRoot,
  LC_ALL: 'C',
  LD_LIBRARY_PATH: path.join(peersRoot, 'usr/lib/x86_64-linux-gnu'),
}

/** Fetch and unpack them, unless that is done. */
export async function ensureBenchPeers() {
  const stampFile = path.join(peersRoot, '.stamp')
  const key = fingerprint([], ...PACKAGES, LEFT_OUT.source)
  if (readStamp(stampFile) === key) return
  await step('fetching s3fs and rclone', () =>
    unpackTree(PACKAGES, peersRoot, ['usr/bin/s3fs', 'usr/bin/rclone', 'usr/bin/fusermount3']),
  )
  writeStamp(stampFile, key)
}
