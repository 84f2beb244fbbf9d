/**
 * Kata's and libvirt's way to start a daemon: the parent listens and hands the socket down as descriptor `fd`. Node can't
 * without accepting on it itself, so Python does. `quiet` puts standard input, output and error on /dev/null first.
 */
const INHERIT = `
import os, socket, sys
path, fd, quiet, *command = sys.argv[1:]
listener = socket.socket(socket.AF_UNIX)
listener.bind(path)
listener.listen(1)
os.dup2(listener.fileno(), int(fd))
os.set_inheritable(int(fd), True)
if quiet == 'quiet':
    null = os.open('/dev/null', os.O_RDWR)
    for stdio in 0, 1, 2: os.dup2(null, stdio)
os.execv(command[0], command)
`

/** The program and arguments that listen on `socketPath` and become `command`. */
export function inheriting(
  socketPath: string,
  fd: number,
  loudness: 'quiet' | 'loud',
  command: readonly string[],
): readonly [string, ...string[]] {
  return ['python3', '-c', INHERIT, socketPath, String(fd), loudness, ...command]
}
