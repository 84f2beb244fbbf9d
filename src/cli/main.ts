#!/usr/bin/env node
import { run } from './run.js'

// Not process.exit(): output to a pipe may still be on its way.
process.exitCode = await run(process.argv.slice(2))
