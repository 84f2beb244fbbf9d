#!/bin/sh
':' //; self=$0; [ -L "$self" ] && self=$(readlink -f -- "$self")
':' //; launcher=${self%/*}/../native/build/Release/ovfsd-launch
':' //; [ -x "$launcher" ] && exec "$launcher" node -- "$self" "$@"
':' //; exec node "$self" "$@"
'use strict'
/**
 * To a shell this file is the four lines above: they start Node.js by the launcher, which makes a sandbox first (native/launcher/main.cc).
 * To Node.js they are strings and comments. Started by Node.js itself, the daemon becomes the launcher where it is to be in a sandbox.
 *
 * Starts the daemon from its bundle (`npm run build` makes it): one file and the code that V8 has made of it before, in place of some
 * two hundred modules that are looked up, read and compiled one by one. Who starts a virtual machine waits for this.
 */
const { readFileSync } = require('node:fs')
const path = require('node:path')
const vm = require('node:vm')

// As deep below the package's root as the modules that it is made of: they look for files of the package.
const BUNDLE = path.join(__dirname, '../dist/bundle/cli/ovfsd.cjs')
const CODE_CACHE = `${BUNDLE}.cache`

/** V8 takes the cache only if it was made by the same version with the same flags, and compiles the bundle otherwise. */
function compile() {
  // The bundler leaves nothing but ASCII: as Latin-1 it needs no decoding.
  const source = readFileSync(BUNDLE, 'latin1')
  return new vm.Script(`(function (exports, require, module, __filename, __dirname) {${source}\n})`, {
    filename: BUNDLE,
    cachedData: codeCache(),
  })
}

function codeCache() {
  try {
    return readFileSync(CODE_CACHE)
  } catch {
    return undefined
  }
}

/**
 * Modules of Node.js that are loaded when something of them is first used: a daemon listens before it needs them, and they take 25 ms. None
 * of them is used for a request that the cache answers.
 */
const LATE = new Set(['child_process', 'crypto', 'fs/promises', 'http', 'https', 'net', 'tls', 'zlib'])

/** As `require`, for the bundle, which takes what it imports by name and no earlier than it uses it. */
function requireLate(id) {
  if (!LATE.has(id.replace(/^node:/, ''))) return require(id)
  let loaded
  return new Proxy({}, { get: (_target, name) => (loaded ??= require(id))[name] })
}

function start(script) {
  const bundle = { exports: {} }
  script.runInThisContext()(bundle.exports, requireLate, bundle, BUNDLE, path.dirname(BUNDLE))
}

if (require.main === module) start(compile())
else module.exports = { CODE_CACHE, compile, start }
