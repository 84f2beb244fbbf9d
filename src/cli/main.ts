import { run } from './run.js'

// Node.js would open its inspector, a port of the loopback interface by which anybody there runs what they like in this process.
process.on('SIGUSR1', () => undefined)

// Not a top-level await, which the bundle's format has not.
void run(process.argv.slice(2)).then((exitCode) => {
  // Not process.exit(): output to a pipe may still be on its way.
  process.exitCode = exitCode
})
