import { run } from './run.js'

// Not a top-level await, which the bundle's format has not.
void run(process.argv.slice(2)).then((exitCode) => {
  // Not process.exit(): output to a pipe may still be on its way.
  process.exitCode = exitCode
})
