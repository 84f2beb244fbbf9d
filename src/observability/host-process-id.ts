let own = process.pid

/** What the host knows the daemon as: in a pid namespace of its own it is a number that means nothing elsewhere. */
export function hostProcessId(): number {
  return own
}

export function setHostProcessId(pid: number): void {
  own = pid
}
