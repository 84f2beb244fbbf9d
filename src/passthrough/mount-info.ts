/** What the host has mounted, by /proc/self/mountinfo (proc_pid_mountinfo(5)). */
import { readFileSync, readlinkSync } from 'node:fs'

const DEVICE_FIELD = 2
const MOUNT_POINT_FIELD = 4
/** Spaces, tabs, line feeds and backslashes of a path are written in octal. */
const ESCAPE_PATTERN = /\\([0-7]{3})/g

/**
 * A place in each other file system that is mounted below the directory `fd`, by paths of the host. The same file system may be
 * mounted in many places; one is enough.
 */
export function fileSystemsBelow(fd: number): string[] {
  const root = readlinkSync(`/proc/self/fd/${fd}`)
  return fileSystemsIn(readFileSync('/proc/self/mountinfo', 'utf8'), root)
}

/** The same of the text of a mountinfo; `root` is an absolute path without links. */
export function fileSystemsIn(mountinfo: string, root: string): string[] {
  const prefix = root.endsWith('/') ? root : `${root}/`
  const places = new Map<string, string>()
  for (const line of mountinfo.split('\n')) {
    const fields = line.split(' ')
    const device = fields[DEVICE_FIELD]
    const place = fields[MOUNT_POINT_FIELD]?.replaceAll(ESCAPE_PATTERN, (_, octal: string) =>
      String.fromCharCode(parseInt(octal, 8)),
    )
    if (device === undefined || place === undefined || !place.startsWith(prefix) || place === prefix) continue
    places.set(device, place)
  }
  return [...places.values()]
}
