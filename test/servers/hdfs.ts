/** Apache Hadoop's NameNode and DataNode on loopback, in one Java process, with WebHDFS. */
import { randomUUID } from 'node:crypto'
import { existsSync, readFileSync, writeFileSync } from 'node:fs'
import path from 'node:path'
import { hdfsConfiguration, type HdfsPorts } from './hdfs-configuration.js'
import { hadoopDirectory, hadoopProblemFile } from './locations.js'
import { portAt, reservePorts, type PortBlock } from './ports.js'
import { ServerProcess } from './server-process.js'
import { createStateDirectory, type StateDirectory } from './state-directory.js'
import { LOOPBACK, type StorageServer } from './storage-server.js'

const USER = 'hdfs'
/** Three seconds on an idle machine. */
const START_DEADLINE_MS = 120_000
const SHELL_DEADLINE_MS = 120_000
/** Hadoop's own default. */
const DEFAULT_BLOCK_SIZE_BYTES = 128 * 2 ** 20
/** What the NameNode and the DataNode need, several times over. */
const HEAP_MIB = 192
const ASK_DEADLINE_MS = 5000

/**
 * The options that set-up trained the class archive with (scripts/lib/hadoop.mjs), one a line: class path, archive,
 * garbage collector. Java does not use an archive that was made with others.
 */
function trainedOptions(): string[] {
  return readFileSync(path.join(hadoopDirectory, 'java-options'), 'utf8').trimEnd().split('\n')
}

export interface HdfsOptions {
  /** A small one makes files of several blocks cheap; at least 1024 and a multiple of 512. 128 MiB if left out. */
  readonly blockSizeBytes?: number
}

export interface ShellResult {
  readonly code: number
  readonly output: string
}

/** Why no HDFS can be started here, for the message of a skipped test; null when it can. */
export function hdfsProblem(): string | null {
  if (existsSync(path.join(hadoopDirectory, '.stamp'))) return null
  if (existsSync(hadoopProblemFile)) return readFileSync(hadoopProblemFile, 'utf8').trim()
  return 'Hadoop has not been fetched: run "node scripts/setup.mjs servers"'
}

/** `kill` and `restart` are those of both, NameNode and DataNode: they are one process. The data is on disk. */
export class Hdfs implements StorageServer {
  /** `hdfs://127.0.0.1:PORT`. */
  readonly nameNode: string
  /** WebHDFS: `http://127.0.0.1:PORT`. */
  readonly httpEndpoint: string
  /** Where the NameNode sends clients for data. */
  readonly dataNodeHttpEndpoint: string
  /** Superuser. */
  readonly user = USER
  readonly #state: StateDirectory
  readonly #block: PortBlock
  readonly #ports: HdfsPorts
  readonly #siteFile: string
  #server: ServerProcess | null = null
  #shells = 0

  /** By {@link startHdfs} only. */
  constructor(state: StateDirectory, block: PortBlock) {
    this.#state = state
    this.#block = block
    this.#siteFile = path.join(state.path, 'hdfs-site.xml')
    this.#ports = {
      nameNode: portAt(block, 0),
      nameNodeHttp: portAt(block, 1),
      dataNode: portAt(block, 2),
      dataNodeHttp: portAt(block, 3),
      dataNodeIpc: portAt(block, 4),
    }
    this.nameNode = `hdfs://${LOOPBACK}:${this.#ports.nameNode}`
    this.dataNodeHttpEndpoint = `http://${LOOPBACK}:${this.#ports.dataNodeHttp}`
    this.httpEndpoint = `http://${LOOPBACK}:${this.#ports.nameNodeHttp}`
  }

  /** By {@link startHdfs} only. */
  async start(options: HdfsOptions): Promise<void> {
    const configuration = hdfsConfiguration({
      ...{ directory: this.#state.path, ports: this.#ports, user: USER },
      blockSizeBytes: options.blockSizeBytes ?? DEFAULT_BLOCK_SIZE_BYTES,
    })
    writeFileSync(this.#siteFile, configuration)
    // Signs the cookies of the web pages; by default it would be looked for in the home directory.
    writeFileSync(path.join(this.#state.path, 'secret'), randomUUID(), { mode: 0o600 })
    await this.restart()
  }

  /** Run `hdfs dfs` with these arguments, in a Java process of its own. */
  fsShell(...args: readonly string[]): Promise<ShellResult> {
    return this.#shell('org.apache.hadoop.fs.FsShell', args)
  }

  /** Run `hdfs dfsadmin` with these arguments, in a Java process of its own. */
  dfsAdmin(...args: readonly string[]): Promise<ShellResult> {
    return this.#shell('org.apache.hadoop.hdfs.tools.DFSAdmin', args)
  }

  async #shell(mainClass: string, args: readonly string[]): Promise<ShellResult> {
    const shell = this.#java(`shell-${++this.#shells}`, mainClass, ['-conf', this.#siteFile, ...args])
    const code = await shell.untilExit(SHELL_DEADLINE_MS)
    return { code, output: readFileSync(shell.logFile, 'utf8') }
  }

  async kill(): Promise<void> {
    await this.#server?.stop()
    this.#server = null
  }

  async restart(): Promise<void> {
    await this.kill()
    const nameDirectory = path.join(this.#state.path, 'name')
    const server = this.#java('hdfs', 'HdfsTestServer', ['serve', this.#siteFile, nameDirectory])
    this.#server = server
    await server.untilReady(`stores files at ${this.httpEndpoint}`, START_DEADLINE_MS, () => this.#isReady())
  }

  async stop(): Promise<void> {
    await this.kill()
    this.#block.release()
    this.#state.remove()
  }

  /** Out of safe mode, with its DataNode. */
  async #isReady(): Promise<boolean> {
    const url = `${this.httpEndpoint}/jmx?qry=Hadoop:service=NameNode,name=FSNamesystemState`
    const response = await fetch(url, { signal: AbortSignal.timeout(ASK_DEADLINE_MS) })
    const { beans } = (await response.json()) as {
      beans: readonly { readonly FSState: string; readonly NumLiveDataNodes: number }[]
    }
    return beans[0]?.FSState === 'Operational' && beans[0].NumLiveDataNodes === 1
  }

  #java(name: string, mainClass: string, args: readonly string[]): ServerProcess {
    const { path: directory } = this.#state
    return new ServerProcess({
      name,
      command: 'java',
      args: [
        ...trainedOptions(),
        ...[`-Xmx${HEAP_MIB}m`, `-Djava.io.tmpdir=${path.join(directory, 'tmp')}`],
        ...[mainClass, ...args],
      ],
      environment: { HADOOP_USER_NAME: USER },
      logDirectory: path.join(directory, 'log'),
    })
  }
}

/** Start an HDFS of its own for the caller; ask {@link hdfsProblem} first. */
export async function startHdfs(options: HdfsOptions = {}): Promise<Hdfs> {
  const problem = hdfsProblem()
  if (problem !== null) throw new Error(problem)
  const block = await reservePorts()
  const state = createStateDirectory('hdfs', ['log', 'tmp', 'name', 'data'])
  const hdfs = new Hdfs(state, block)
  try {
    await hdfs.start(options)
    return hdfs
  } catch (error) {
    await hdfs.stop()
    throw error
  }
}
