// How long a command takes in the guest, by the guest's own clock.

/** bash that runs a command and prints when it began and when it ended. */
export const TIMED = (command) => `from=$EPOCHREALTIME; ${command}; echo "timed $from $EPOCHREALTIME"`

/** @param {string} output of a script with `TIMED` @returns {{ seconds: number, rest: string }} and what else it printed */
export function secondsOf(output) {
  const match = /^timed (\d+\.\d+) (\d+\.\d+)\n/m.exec(output)
  if (match === null) throw new Error(`no time in:\n${output}`)
  return { seconds: Number(match[2]) - Number(match[1]), rest: output.replace(match[0], '') }
}
