import { readFileSync } from 'node:fs'
import { mkdtemp, rm } from 'node:fs/promises'
import type { Socket } from 'node:net'
import os from 'node:os'
import path from 'node:path'
import { fileURLToPath } from 'node:url'
import { AgentChannel, type ScriptResult } from './agent-channel.js'
import { untilListening } from './listening.js'
import { ManagedProcess } from './process.js'
import { connectSocket, QmpClient } from './qmp.js'

/** What scripts/lib/guest-image.mjs wrote: absolute paths. */
export interface GuestManifest {
  readonly kernelVersion: string
  readonly kernel: string
  readonly initramfs: string
  /** What the initramfs was made of: a Debian tree without its package manager. */
  readonly tree: string
}

/** One vhost-user-fs device of the guest. */
export interface GuestDevice {
  /** What the guest mounts: `mount -t virtiofs TAG DIR`. */
  readonly tag: string
  /** Where the daemon listens. */
  readonly socketPath: string
  /** Request queues besides the hiprio queue; 1 if left out. */
  readonly requestQueues?: number
  /**
   * The daemon's process: if it ends, the guest would wait for ever, so what waits for the guest fails at once. Absent where the
   * test itself serves the device.
   */
  readonly daemon?: ManagedProcess
}

export interface GuestOptions {
  readonly devices: readonly GuestDevice[]
  /** MiB of memory; 2048 if left out. */
  readonly memoryMiB?: number
  readonly cpus?: number
  /** The tag of the device whose tree becomes the root file system; an initramfs if left out. */
  readonly root?: string
}

export interface RunOptions {
  /** The script is killed, and the run fails, after so long. */
  readonly timeoutMs?: number
}

const DEFAULT_MEMORY_MIB = 2048
const DEFAULT_CPUS = 2
/** Booting takes 5 s on two emulated processors that are idle; a busy machine needs several times that. */
const BOOT_DEADLINE_MS = 120_000
/** Under emulation on a busy host a kernel at times hangs before its first process; no daemon has heard of it by then. */
const BOOT_ATTEMPTS = 3
/** The first process's first line, see init.sh. */
const INIT_STARTED = 'init: started'
const QMP_DEADLINE_MS = 30_000
const POWEROFF_DEADLINE_MS = 60_000
const DEFAULT_RUN_MS = 60_000
/** Entries of each virtqueue: QEMU's limit for the device. */
const QUEUE_SIZE = 1024
/** Hardware virtualisation is not everywhere where tests run, and may hang where it is said to be: emulate unless told otherwise. */
export const ACCELERATOR = process.env.OVFSD_GUEST_ACCEL ?? 'tcg'

/**
 * A Linux guest in QEMU, booted once and used for many scripts. Whatever goes wrong (the guest panics or hangs, QEMU or
 * a daemon dies) is an error with the tails of the console and of the daemons' logs, never a wait without end.
 */
export class Guest {
  readonly #qemu: ManagedProcess
  readonly #qmp: QmpClient
  readonly #agent: AgentChannel
  readonly #devices: readonly GuestDevice[]
  readonly #folder: string
  /** The kernel has come as far as its first process. */
  #hasInit = false
  /** Set once the end of QEMU is what we want. */
  #ending = false

  private constructor(
    qemu: ManagedProcess,
    qmp: QmpClient,
    agent: Socket,
    options: GuestOptions,
    folder: string,
  ) {
    this.#qemu = qemu
    this.#qmp = qmp
    this.#agent = new AgentChannel(agent)
    this.#devices = options.devices
    this.#folder = folder
    this.#watch()
  }

  /** Start QEMU and wait until the guest's agent says that it is ready. */
  static async boot(options: GuestOptions): Promise<Guest> {
    const folder = await mkdtemp(path.join(os.tmpdir(), 'ovfsd-guest-'))
    const qmpPath = path.join(folder, 'qmp')
    const agentPath = path.join(folder, 'agent')
    const qemu = new ManagedProcess(
      'the guest (QEMU and its console)',
      'qemu-system-x86_64',
      qemuArguments(options, qmpPath, agentPath),
    )
    try {
      await untilListening(qmpPath, qemu, QMP_DEADLINE_MS)
      await untilListening(agentPath, qemu, QMP_DEADLINE_MS)
      // The agent's port must have its reader before the guest greets: QEMU drops what no one reads.
      const agent = await connectSocket(agentPath)
      const guest = new Guest(qemu, await QmpClient.connect(qmpPath), agent, options, folder)
      await guest.#untilReady()
      return guest
    } catch (error) {
      qemu.kill()
      await qemu.exited
      await rm(folder, { recursive: true, force: true })
      throw error
    }
  }

  /** Run a bash script (with -eu -o pipefail) in the guest; resolves with its exit code and what it printed on both streams. */
  async run(script: string, options: RunOptions = {}): Promise<ScriptResult> {
    return this.#explain(this.#agent.run(script, options.timeoutMs ?? DEFAULT_RUN_MS))
  }

  /** The reset button: the guest's kernel gets no chance to say goodbye. Resolves when it has booted again. */
  async reboot(): Promise<void> {
    // The panic watch wants a reboot to end QEMU (-no-reboot); this one may not.
    await this.#qmp.execute('set-action', { reboot: 'reset' })
    await this.#reset()
    await this.#untilReady()
    // Not earlier: the BIOS, finding that it ran before, resets the machine once more.
    await this.#qmp.execute('set-action', { reboot: 'shutdown' })
  }

  async #reset(): Promise<void> {
    this.#agent.abandon(new Error('the guest was reset'))
    this.#hasInit = false
    const reset = this.#qmp.nextEvent('RESET')
    await this.#qmp.execute('system_reset')
    await reset
  }

  /** Stop the guest's processors and its devices, as before a migration: the front-end takes the vrings back. */
  async pause(): Promise<void> {
    await this.#qmp.execute('stop')
  }

  /** Go on after `pause`. */
  async resume(): Promise<void> {
    await this.#qmp.execute('cont')
  }

  /** Power off from within, and wait until QEMU has ended. */
  async shutdown(): Promise<void> {
    this.#ending = true
    this.#agent.sendPowerOff()
    const timer = setTimeout(() => {
      this.#qemu.kill()
    }, POWEROFF_DEADLINE_MS)
    const how = await this.#qemu.exited
    clearTimeout(timer)
    await this.close()
    if (!how.endsWith('code 0')) throw new Error(`the guest did not power off: ${how}\n${this.#qemu.tail()}`)
  }

  /** End QEMU at once and remove its files. Safe to call again. */
  async close(): Promise<void> {
    this.#ending = true
    this.#qmp.close()
    this.#agent.close()
    this.#qemu.kill()
    await this.#qemu.exited
    await rm(this.#folder, { recursive: true, force: true })
  }

  /** The guest's console, for messages. */
  consoleTail(): string {
    return this.#qemu.tail()
  }

  async #untilReady(): Promise<void> {
    for (let attempt = 1; ; attempt++) {
      try {
        await this.#explain(this.#agent.untilHello(BOOT_DEADLINE_MS))
        return
      } catch (error) {
        if (this.#hasInit || this.#qemu.hasExited || attempt === BOOT_ATTEMPTS) throw error
      }
      await this.#reset()
    }
  }

  /** Fail whatever waits for the guest when the guest, QEMU or a daemon is lost. */
  #watch(): void {
    const lost = (why: string): void => {
      if (!this.#ending) this.#agent.fail(new Error(why))
    }
    this.#qemu.onLine((line) => {
      if (line.includes(INIT_STARTED)) this.#hasInit = true
      if (line.includes('Kernel panic')) lost(`the guest's kernel panicked: ${line.trim()}`)
    })
    void this.#qemu.exited.then(lost)
    for (const daemon of this.#daemons()) void daemon.exited.then(lost)
  }

  #daemons(): ManagedProcess[] {
    return [...new Set(this.#devices.map(({ daemon }) => daemon))].filter((daemon) => daemon !== undefined)
  }

  /** Add what is known to an error. */
  async #explain<T>(work: Promise<T>): Promise<T> {
    try {
      return await work
    } catch (error) {
      const tails = [this.#qemu, ...this.#daemons()].map((process) => process.tail())
      throw new Error(`${error instanceof Error ? error.message : String(error)}\n${tails.join('\n')}`, {
        cause: error,
      })
    }
  }
}

export function readManifest(): GuestManifest {
  // dist/test/guest/ -> the repository's root
  const root = fileURLToPath(new URL('../../../', import.meta.url))
  const cacheFolder = process.env.OVFSD_CACHE ?? path.join(root, '.cache')
  return JSON.parse(readFileSync(path.join(cacheFolder, 'guest', 'guest.json'), 'utf8')) as GuestManifest
}

function qemuArguments(options: GuestOptions, qmpPath: string, agentPath: string): string[] {
  const manifest = readManifest()
  const root = options.root === undefined ? '' : ` ovfsd.root=${options.root}`
  const memory = `${options.memoryMiB ?? DEFAULT_MEMORY_MIB}M`
  const devices = options.devices.flatMap((device, index) => [
    '-chardev',
    `socket,id=fs${index},path=${device.socketPath}`,
    '-device',
    `vhost-user-fs-pci,queue-size=${QUEUE_SIZE},num-request-queues=${device.requestQueues ?? 1},chardev=fs${index},tag=${device.tag}`,
  ])
  return [
    ...['-accel', ACCELERATOR, '-smp', String(options.cpus ?? DEFAULT_CPUS), '-m', memory],
    // The daemon maps the guest's memory: it has to be shared.
    ...['-object', `memory-backend-memfd,id=mem,size=${memory},share=on`, '-numa', 'node,memdev=mem'],
    ...['-nodefaults', '-no-user-config', '-display', 'none', '-no-reboot'],
    ...['-kernel', manifest.kernel, '-initrd', manifest.initramfs],
    // no_timer_check: on a busy host the emulated timer is so late that the kernel takes it for broken, and hangs.
    // panic=-1: a panic reboots at once, which ends QEMU because of -no-reboot.
    ...['-append', `console=ttyS0 panic=-1 no_timer_check quiet loglevel=4 random.trust_cpu=on${root}`],
    ...['-serial', 'stdio', '-qmp', `unix:${qmpPath},server=on,wait=off`],
    ...['-device', 'virtio-serial-pci', '-chardev', `socket,id=agent,path=${agentPath},server=on,wait=off`],
    ...['-device', 'virtserialport,chardev=agent,name=ovfsd.agent'],
    ...devices,
  ]
}
