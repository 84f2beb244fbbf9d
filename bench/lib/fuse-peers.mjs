// s3fs and rclone mount on the host, as people use them, and Debian's virtiofsd that hands them on to a guest.
import { execFileSync } from 'node:child_process'
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs'
import path from 'node:path'
import { peerEnvironment, RCLONE, S3FS } from '../../scripts/lib/bench-peers.mjs'
import { spawnDaemon, startVirtiofsd } from './daemons.mjs'

/** @typedef {import('../../dist/test/servers/clients.js').S3Access} S3Access */

/** Both leave their defaults alone but for what reaches the server and what is said in bench/README.md. */
const PEERS = {
  s3fs: startS3fs,
  rclone: startRclone,
}

/**
 * Mount the bucket by one of them and start a virtiofsd on the mount.
 *
 * @param {'s3fs' | 'rclone'} kind
 * @param {S3Access} access
 * @param {string} work a directory for sockets, mount points and caches
 * @param {number} threads virtiofsd's --thread-pool-size
 * @param {import('./resources.mjs').Resources} resources
 * @param {string} name how the results call it
 * @returns {Promise<import('./daemons.mjs').RunningDaemon>}
 */
export async function startPeer(kind, access, work, threads, resources, name = kind) {
  const directory = path.join(work, name)
  const mountPoint = path.join(directory, 'mount')
  mkdirSync(mountPoint, { recursive: true })
  const daemon = PEERS[kind](access, directory, mountPoint)
  resources.add(mountPoint, async () => {
    if (isMounted(mountPoint)) execFileSync('umount', ['--lazy', mountPoint])
    await daemon.stop()
  })
  await daemon.untilReady(`mounted ${mountPoint}`, () => isMounted(mountPoint))
  return resources.add(await startVirtiofsd(mountPoint, work, threads, name), ({ stop }) => stop())
}

function startS3fs(access, directory, mountPoint) {
  const passwords = path.join(directory, 'passwd-s3fs')
  writeFileSync(passwords, `${access.accessKeyId}:${access.secretAccessKey}\n`, { mode: 0o600 })
  const options = [
    `url=${access.endpoint}`,
    'use_path_request_style',
    `endpoint=${access.region}`,
    `passwd_file=${passwords}`,
    // Where a file lies while it is open.
    `tmpdir=${directory}`,
  ]
  return spawnDaemon(
    's3fs',
    S3FS,
    [access.bucket, mountPoint, '-f', '-o', options.join(',')],
    peerEnvironment,
  )
}

function startRclone(access, directory, mountPoint) {
  const environment = {
    ...peerEnvironment,
    RCLONE_CONFIG_CEPH_TYPE: 's3',
    RCLONE_CONFIG_CEPH_PROVIDER: 'Ceph',
    RCLONE_CONFIG_CEPH_ENDPOINT: access.endpoint,
    RCLONE_CONFIG_CEPH_REGION: access.region,
    RCLONE_CONFIG_CEPH_ACCESS_KEY_ID: access.accessKeyId,
    RCLONE_CONFIG_CEPH_SECRET_ACCESS_KEY: access.secretAccessKey,
  }
  const args = ['mount', `ceph:${access.bucket}`, mountPoint, '--config=', '--vfs-cache-mode=writes']
  // It waits five seconds before it uploads; what is measured is how long the upload takes.
  args.push('--vfs-write-back=0s', `--cache-dir=${path.join(directory, 'cache')}`)
  return spawnDaemon('rclone', RCLONE, args, environment)
}

/** Field 5 of a line is the mount point (proc(5)). */
function isMounted(mountPoint) {
  return readFileSync('/proc/self/mountinfo', 'utf8')
    .split('\n')
    .some((line) => line.split(' ')[4] === mountPoint)
}
