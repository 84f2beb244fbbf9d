// Apache Hadoop for the tests of HDFS: its jars from Maven Central, and our small launcher.
import {
  cpSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  renameSync,
  rmSync,
  writeFileSync,
} from 'node:fs'
import os from 'node:os'
import path from 'node:path'
import { findCommand } from './debian.mjs'
import { filesBelow, fingerprint, readStamp, writeStamp } from './fingerprint.mjs'
import { cacheDir, inRoot } from './paths.mjs'
import { run, say, SetupError, step } from './steps.mjs'

const hadoopDir = path.join(cacheDir, 'hadoop')
const jarsDir = path.join(hadoopDir, 'jars')
const launcherJar = path.join(hadoopDir, 'launcher.jar')
const classArchive = path.join(hadoopDir, 'classes.jsa')
const jarsStamp = path.join(hadoopDir, 'jars.stamp')
/** Written last: with it, test/servers/hdfs.ts takes Hadoop for ready. */
const readyStamp = path.join(hadoopDir, '.stamp')
/** Holds one line with the reason why there is no Hadoop; test/servers/hdfs.ts reads it. */
const problemFile = path.join(cacheDir, 'hadoop-problem')

const SOURCES = 'test/servers/hadoop'
const POM = `${SOURCES}/pom.xml`
const LAUNCHER = `${SOURCES}/HdfsTestServer.java`
const RESOURCES = `${SOURCES}/resources`
/** The jars have no web pages, but the servers look for these folders in the class path: empty ones will do. */
const WEB_APPLICATIONS = ['webapps/hdfs', 'webapps/datanode']
/** HDFS has been tested with Java 17; its jars do not run before 8, our launcher's archive of classes not before 13. */
const OLDEST_JAVA = 13
/** Maven retries by itself; a registry that answers nothing at all must not hold up every other test. */
const MAVEN_DEADLINE_SECONDS = 600
const TRAINING_DEADLINE_SECONDS = 180

/** Hadoop reaches into the JDK in ways that Java 17 refuses unless told. */
const OPENED_PACKAGES = ['java.lang', 'java.util', 'java.net', 'java.nio', 'java.util.concurrent']
const JAVA_OPTIONS = [
  ...OPENED_PACKAGES.map((name) => `--add-opens=java.base/${name}=ALL-UNNAMED`),
  // A quick start is worth more here than the last bit of speed.
  '-XX:+UseSerialGC',
  '-XX:TieredStopAtLevel=1',
  '-XX:-UsePerfData',
  '-Djava.net.preferIPv4Stack=true',
  // An archive of classes that does not fit any more (another Java) is no reason to print anything.
  '-Xlog:disable',
]

/**
 * Hadoop's jars and our small launcher, in .cache/hadoop. Java and Maven are the only things that the tests use where
 * they find them: without them, or without Maven Central, the HDFS tests are reported as skipped, with the reason.
 */
export async function ensureHadoop() {
  const problem = (await javaProblem()) ?? (await jarsProblem())
  if (problem === null) {
    await ensureLauncher()
    rmSync(problemFile, { force: true })
  } else {
    writeStamp(problemFile, problem)
    say(`WARNING: the HDFS tests will be skipped: ${problem}`)
  }
}

/** Why Hadoop cannot be fetched and run here, or null. */
async function javaProblem() {
  for (const command of ['java', 'javac', 'jar', 'mvn']) {
    if (findCommand(command) === null) return `there is no ${command} (Debian: default-jdk-headless maven)`
  }
  if (isReady()) return null
  const { stdout } = await run('javac', ['--version'])
  const version = Number.parseInt(stdout.replace(/^\D*/, ''), 10)
  return version >= OLDEST_JAVA ? null : `Java ${OLDEST_JAVA} or newer is needed; this is ${stdout.trim()}`
}

/** Fetch the jars unless they are there; Maven's complaint if that fails, null if not. */
async function jarsProblem() {
  const key = fingerprint([POM])
  if (readStamp(jarsStamp) === key) return null
  const fresh = `${hadoopDir}.new`
  rmSync(fresh, { recursive: true, force: true })
  mkdirSync(path.join(fresh, 'jars'), { recursive: true })
  // A copy: Maven takes the pom's folder for the project's.
  cpSync(inRoot(POM), path.join(fresh, 'pom.xml'))
  try {
    await step('fetching Hadoop from Maven Central', () =>
      run('timeout', [
        String(MAVEN_DEADLINE_SECONDS),
        ...['mvn', '--batch-mode', '--quiet', '--file', path.join(fresh, 'pom.xml')],
        'dependency:copy-dependencies',
        '-DincludeScope=runtime',
        `-DoutputDirectory=${path.join(fresh, 'jars')}`,
      ]),
    )
  } catch (error) {
    if (!(error instanceof SetupError)) throw error
    const lines = error.message.split('\n')
    return `Maven could not fetch Hadoop: ${lines.find((line) => line.includes('ERROR')) ?? lines.at(-1)}`
  }
  rmSync(hadoopDir, { recursive: true, force: true })
  renameSync(fresh, hadoopDir)
  writeStamp(jarsStamp, key)
  return null
}

/** The cache's own place is part of the key: it is in the class path. */
const readyKey = () => fingerprint([POM, LAUNCHER, ...filesBelow(RESOURCES)], hadoopDir, ...JAVA_OPTIONS)
const isReady = () => readStamp(readyStamp) === readyKey()

async function ensureLauncher() {
  if (isReady()) return
  await step("compiling HDFS's launcher", async () => {
    const classes = path.join(hadoopDir, 'classes')
    rmSync(classes, { recursive: true, force: true })
    cpSync(inRoot(RESOURCES), classes, { recursive: true })
    for (const dir of WEB_APPLICATIONS) mkdirSync(path.join(classes, dir), { recursive: true })
    await run('javac', ['-nowarn', '-cp', path.join(jarsDir, '*'), '-d', classes, inRoot(LAUNCHER)])
    await run('jar', ['--create', '--file', launcherJar, '-C', classes, '.'])
  })
  await step('teaching Java the classes of HDFS', trainJava)
  writeStamp(readyStamp, readyKey())
}

/**
 * Run HDFS once and let Java store the classes that it loaded, verified and laid out: later starts take half the time.
 * The file java-options has the options, one a line, that such a start must have.
 */
async function trainJava() {
  // Sorted: the archive is good only for the class path that it was made with.
  const jars = readdirSync(jarsDir).sort()
  const classPath = [launcherJar, ...jars.map((jar) => path.join(jarsDir, jar))].join(':')
  const options = [...JAVA_OPTIONS, '-cp', classPath]
  const directory = mkdtempSync(path.join(os.tmpdir(), 'ovfsd-setup-hdfs-'))
  try {
    const training = [
      ...options,
      `-XX:ArchiveClassesAtExit=${classArchive}`,
      'HdfsTestServer',
      'train',
      directory,
    ]
    rmSync(classArchive, { force: true })
    await run('timeout', [String(TRAINING_DEADLINE_SECONDS), 'java', ...training])
  } finally {
    rmSync(directory, { recursive: true, force: true })
  }
  const archive = existsSync(classArchive) ? [`-XX:SharedArchiveFile=${classArchive}`] : []
  writeFileSync(path.join(hadoopDir, 'java-options'), [...options, ...archive].join('\n') + '\n')
}
