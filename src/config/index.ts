/** The configuration layer's public face: TOML in, validated settings or readable problems out. */
export { appliedSettings, diffSettings, type MountChange, type SettingsDiff } from './diff.js'
export { settingKey } from './setting-key.js'
export { isOpenToOthers, loadControlSocket, loadSettings } from './load.js'
export { formatMountPoint } from './mount-point.js'
export type { GuestCache, Overrides, SharedDirectory } from './command-line.js'
export { parseSettings } from './parse.js'
export { ConfigError, type Problem } from './problem.js'
export type { MountSettings, ServerSettings, Settings } from './settings.js'
