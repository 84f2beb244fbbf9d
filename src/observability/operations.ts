/** What the requests of FUSE are called in metrics, traces, the access log and the rules of interposers. */

/** Opcodes are below this; a table that is indexed by opcode is as long. */
export const OPERATION_LIMIT = 64

/** By opcode, <linux/fuse.h>. What differs only in its arguments has one name. */
const NAMES: readonly (readonly [number, string])[] = [
  [1, 'lookup'],
  [2, 'forget'],
  [3, 'getattr'],
  [4, 'setattr'],
  [5, 'readlink'],
  [6, 'symlink'],
  [8, 'mknod'],
  [9, 'mkdir'],
  [10, 'unlink'],
  [11, 'rmdir'],
  [12, 'rename'],
  [13, 'link'],
  [14, 'open'],
  [15, 'read'],
  [16, 'write'],
  [17, 'statfs'],
  [18, 'release'],
  [20, 'fsync'],
  [21, 'setxattr'],
  [22, 'getxattr'],
  [23, 'listxattr'],
  [24, 'removexattr'],
  [25, 'flush'],
  [26, 'init'],
  [27, 'opendir'],
  [28, 'readdir'],
  [29, 'releasedir'],
  [30, 'fsyncdir'],
  [34, 'access'],
  [35, 'create'],
  [36, 'interrupt'],
  [38, 'destroy'],
  [42, 'forget'],
  [43, 'fallocate'],
  [44, 'readdirplus'],
  [45, 'rename'],
  [46, 'lseek'],
  [47, 'copy_file_range'],
  [50, 'syncfs'],
  [51, 'tmpfile'],
  [52, 'statx'],
  [53, 'copy_file_range'],
]

/** All opcodes that we know no name for. */
export const UNKNOWN_OPERATION = 'unknown'

const byOpcode = new Array<string>(OPERATION_LIMIT).fill(UNKNOWN_OPERATION)
for (const [opcode, name] of NAMES) byOpcode[opcode] = name

/** The operation's name for each opcode below OPERATION_LIMIT. */
export const OPERATION_BY_OPCODE: readonly string[] = byOpcode

/** Each name once. */
export const OPERATION_NAMES: readonly string[] = [...new Set(NAMES.map(([, name]) => name))]

/** The name of any opcode, whatever a guest sends. */
export function operationOf(opcode: number): string {
  return OPERATION_BY_OPCODE[opcode] ?? UNKNOWN_OPERATION
}
