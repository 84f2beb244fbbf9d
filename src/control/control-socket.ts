/**
 * What `ovfsd status` and its like ask a running daemon: HTTP over a Unix socket that only the daemon's own user and root can use.
 * All answers are JSON; see views.ts.
 */
import type { ServerResponse } from 'node:http'
import { errnoOf, FsError } from '../fs/fs-error.js'
import { isLogLevel, LOG_LEVELS } from '../observability/levels.js'
import { redactText, setLogLevel, type Logger } from '../observability/logger.js'
import type { ServerControl } from '../server/server-control.js'
import { HttpEndpoint, HttpRefusal, sendJson, type Route } from './http-endpoint.js'
import type { PathMatcher } from '../observability/glob-matcher.js'
import { pathFilter } from './path-filter.js'
import { RecordStream } from './record-stream.js'
import { mountViews, statsView, statusView, type DaemonFacts } from './views.js'

const ENOENT = errnoOf(new FsError('ENOENT'))

export interface ControlledDaemon {
  readonly server: ServerControl
  readonly logger: Logger
  /** As they are now. */
  readonly facts: () => DaemonFacts
}

/**
 * Listen at `path`. `more`: further routes, by method and path.
 * @throws Error with `code` (EADDRINUSE, EACCES, ENOENT...)
 */
export async function openControlSocket(
  path: string,
  daemon: ControlledDaemon,
  more: ReadonlyMap<string, Route> = new Map(),
): Promise<HttpEndpoint> {
  const routes = new Map([...routesOf(daemon), ...more])
  return await HttpEndpoint.listen({ path }, routes, (error) => {
    daemon.logger.error({ err: error }, 'a request to the control socket failed by a defect of ours')
  })
}

function routesOf({ server, logger, facts }: ControlledDaemon): Map<string, Route> {
  const redact = (text: string): string => redactText(logger, text)
  return new Map<string, Route>([
    [
      'GET /status',
      async (_url, response) => {
        sendJson(response, await statusView(server, facts()))
      },
    ],
    [
      'GET /mounts',
      (_url, response) => {
        sendJson(response, mountViews(server, redact))
      },
    ],
    [
      'GET /stats',
      (_url, response) => {
        sendJson(response, statsView(server))
      },
    ],
    [
      'POST /flush',
      async (url, response) => {
        const { mount } = argumentsOf(url, ['mount'])
        sendJson(response, await refusing(() => server.flush(mount ?? null)))
      },
    ],
    [
      'POST /invalidate',
      async (url, response) => {
        const path = required(argumentsOf(url, ['path']).path, 'path')
        const result = await refusing(() => server.invalidate(path))
        logger.info({ path: result.path, mounts: result.mounts }, 'invalidated by the control socket')
        sendJson(response, result)
      },
    ],
    [
      'POST /log-level',
      (url, response) => {
        const level = required(argumentsOf(url, ['level']).level, 'level')
        if (!isLogLevel(level)) throw new HttpRefusal(400, `level is one of ${LOG_LEVELS.join(', ')}`)
        const before = logger.level
        setLogLevel(logger, level)
        sendJson(response, { before, level })
      },
    ],
    [
      'GET /trace',
      async (url, response) => {
        await stream(server, response, required(argumentsOf(url, ['path']).path, 'path'))
      },
    ],
    [
      'GET /access-log',
      async (_url, response) => {
        await stream(server, response, '/')
      },
    ],
  ])
}

async function stream(server: ServerControl, response: ServerResponse, glob: string): Promise<void> {
  const filter = await filterOf(glob)
  // Gone while the filter was loaded.
  if (response.destroyed) return
  const watcher = new RecordStream(response, filter)
  server.watch(watcher)
  response.once('close', () => {
    server.unwatch(watcher)
    watcher.close()
  })
}

async function filterOf(glob: string): Promise<PathMatcher> {
  try {
    return await pathFilter(glob)
  } catch (error) {
    throw new HttpRefusal(400, `path ${(error as Error).message}`)
  }
}

/** The query's parameters. Another one is a mistake that would not be noticed otherwise. */
function argumentsOf<Name extends string>(
  url: URL,
  names: readonly Name[],
): Readonly<Partial<Record<Name, string>>> {
  const values: Partial<Record<Name, string>> = {}
  for (const [key, value] of url.searchParams) {
    const name = names.find((known) => known === key)
    if (name === undefined) throw new HttpRefusal(400, `there is no parameter ${JSON.stringify(key)}`)
    if (values[name] !== undefined) throw new HttpRefusal(400, `${key} is given twice`)
    values[name] = value
  }
  return values
}

function required(value: string | undefined, name: string): string {
  if (value === undefined || value === '') throw new HttpRefusal(400, `?${name}=... is missing`)
  return value
}

/** What the file system refuses is the client's mistake. */
async function refusing<T>(work: () => Promise<T>): Promise<T> {
  try {
    return await work()
  } catch (error) {
    if (!(error instanceof FsError)) throw error
    throw new HttpRefusal(errnoOf(error) === ENOENT ? 404 : 400, error.message)
  }
}
