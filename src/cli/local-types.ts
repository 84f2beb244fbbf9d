/** Types of stores whose `root` is a directory of the host. */
export const HOST_TYPES: ReadonlySet<string> = new Set(['passthrough', 'fs'])

/** Types of stores without a server. */
export const LOCAL_TYPES: ReadonlySet<string> = new Set([...HOST_TYPES, 'memory', 'null'])
