/** Exit codes, as HELP lists them. */
export const EXIT_OK = 0
/** Could not start, could not write back everything when stopped, or could not reach a storage (--check --connect). */
export const EXIT_FAILURE = 1
/** Stopped in order, but data that a guest had written was lost meanwhile, or is kept elsewhere since others had changed its file. */
export const EXIT_LOST = 3
/** Wrong command line or configuration. */
export const EXIT_USAGE = 2
/** A fault of ours: EX_SOFTWARE of sysexits.h. */
export const EXIT_SOFTWARE = 70
