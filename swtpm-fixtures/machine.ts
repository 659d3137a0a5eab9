/**
 * Software TPMs that boot with a recorded log, namespaces with real rules, disks as files, and tampering.
 *
 * `recorded` is evidence of real machines; `recorded-initrds` are images, and what a kernel made of them;
 * `recorded-nodes` their disks and firewalls; `recorded-clouds` answers of clouds; `vectors` attacks as bundles
 * with the answer beside them; `conversations` what released versions said, `databases` what state they left,
 * `charts` what their charts made.
 *
 * `set-up` is the set-up before each command, which `setup.mjs` begins.
 */

import { hash, randomUUID } from 'node:crypto';
import { appendFile, mkdir, mkdtemp, readFile, rename, rm, symlink, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { dirname, join, resolve } from 'node:path';
import pLimit from 'p-limit';
import { bootLogPath } from '../agent/collectors/boot-log.ts';
import { imaLogPath } from '../agent/collectors/ima-log.ts';
import type { TpmAuthority } from './authority.ts';
import { type BootOptions, banksOf, bootTpm } from './boot.ts';
import {
  diskFiles,
  diskLinks,
  inspectedDisk,
  inspectedPath,
  mountTableOf,
  mountTablePath,
  type Storage,
  type Volume,
  volumeOf,
} from './disk.ts';
import { hostFiles } from './host-files.ts';
import { type MeasuredEntry, measuredEntry } from './ima-list.ts';
import { extendEntry, startKernel } from './kernel.ts';
import { filesOf } from './loader-files.ts';
import { type NetworkNamespace, openNamespace, workerRules } from './namespace.ts';
import { launchTpm, type SoftwareTpm } from './tpm.ts';

export interface MachineOptions {
  /** The recorded firmware log that it boots with first; also decides which PCR banks its TPM has. */
  readonly log: Buffer;
  /** Where TPM state and sysroot are kept; a machine found there is used again. Default: a new folder, removed at the end. */
  readonly dir?: string;
  readonly authority?: TpmAuthority;
  /** True: it has a network of its own with a worker's firewall, where this computer can have one. Default: false. */
  readonly network?: boolean;
  /** The list of IMA that was recorded of that boot: what runs after each start. Default: its kernel has no policy. */
  readonly ran?: Buffer;
}

/**
 * A machine: a TPM and the files that an agent reads, made anew at every boot. Its container storage lies on a LUKS2
 * volume that no other machine has, no SSH listens, and its kernel is as it should be.
 */
export interface FixtureMachine extends AsyncDisposable {
  /** Absolute. */
  readonly dir: string;
  /** Stands for `/` when an agent reads /proc, /sys and /etc. */
  readonly sysroot: string;
  readonly tpm: SoftwareTpm;
  /** /proc/sys/kernel/random/boot_id of the boot that is running; null while it is off. */
  readonly bootId: string | null;
  /** Its network, made anew at every boot; a text says why this computer can have none. Null where none was wanted. */
  readonly network: NetworkNamespace | string | null;
  /** Changes what containers are stored on, while it runs. */
  mountStorage(storage: Storage): Promise<void>;
  /** Runs a program that is no part of the recorded boot: its kernel measures this content. */
  run(path: string, content: string): Promise<void>;
  /** Its kernel measures something: what it shows is in the list a moment before it is in PCR 10. */
  measure(entry: MeasuredEntry): Promise<void>;
  /** Until this is disposed of, `assay-agent inspect` has not run since the boot. */
  withoutInspect(): Promise<AsyncDisposable>;
  /** Cuts the power (or shuts down, if `orderly`) and boots with this log. */
  powerCycle(log: Buffer, options?: BootOptions): Promise<void>;
  /** Cuts the power; the TPM answers no command until the next `powerCycle`. */
  powerOff(): Promise<void>;
  /** Ends it; removes its folder where that was not given. */
  dispose(): Promise<void>;
}

/** Makes a machine and boots it. Its TPM has exactly the banks of the log, as firmware extends all of its banks. */
export async function startMachine(options: MachineOptions): Promise<FixtureMachine> {
  const dir = options.dir === undefined ? await mkdtemp(join(tmpdir(), 'assay-node-')) : resolve(options.dir);
  const tpm = await launchTpm({
    dir: join(dir, 'tpm'),
    banks: banksOf(options.log),
    isOff: true,
    ...(options.authority && { authority: options.authority }),
  });
  const machine = new Machine({
    dir,
    tpm,
    volume: await readVolume(dir),
    ownsDir: options.dir === undefined,
    hasNetwork: options.network === true,
    ran: options.ran ?? null,
  });
  try {
    await machine.powerCycle(options.log);
  } catch (error) {
    await machine.dispose();
    throw error;
  }
  return machine;
}

interface MachineParts {
  readonly dir: string;
  readonly tpm: SoftwareTpm;
  readonly volume: Volume;
  readonly ownsDir: boolean;
  readonly hasNetwork: boolean;
  readonly ran: Buffer | null;
}

/** As the timer of `assay-agent inspect` does. */
const inspectEveryMs = 3_600_000;

class Machine implements FixtureMachine {
  readonly sysroot: string;
  readonly #is: MachineParts;
  #bootId: string | null = null;
  #network: NetworkNamespace | string | null = null;
  #inspecting: NodeJS.Timeout | undefined;
  /** A kernel adds to its list one entry at a time. */
  readonly #oneByOne = pLimit(1);

  constructor(parts: MachineParts) {
    this.sysroot = join(parts.dir, 'sysroot');
    this.#is = parts;
  }

  get dir(): string {
    return this.#is.dir;
  }

  get tpm(): SoftwareTpm {
    return this.#is.tpm;
  }

  get network(): NetworkNamespace | string | null {
    return this.#network;
  }

  get bootId(): string | null {
    return this.#bootId;
  }

  async powerCycle(log: Buffer, options?: BootOptions): Promise<void> {
    await this.#stop();
    await bootTpm(this.tpm, log, options);
    const ima = await startKernel(this.tpm, this.#is.ran);
    const bootId = randomUUID();
    await writeSysroot(this.sysroot, bootId, log, ima, this.#is.volume);
    if (this.#is.hasNetwork) this.#network = await openNamespace(workerRules);
    this.#inspecting = setInterval(() => void this.#inspect(), inspectEveryMs).unref();
    this.#bootId = bootId;
  }

  async mountStorage(storage: Storage): Promise<void> {
    await this.#replace(mountTablePath, mountTableOf(this.#is.volume, storage));
  }

  run(path: string, content: string): Promise<void> {
    return this.measure(measuredEntry({ digest: hash('sha256', content, 'buffer'), name: path }));
  }

  measure(entry: MeasuredEntry): Promise<void> {
    return this.#oneByOne(async () => {
      await appendFile(join(this.sysroot, imaLogPath), entry.bytes);
      await extendEntry(this.tpm, entry);
    });
  }

  async withoutInspect(): Promise<AsyncDisposable> {
    await rm(join(this.sysroot, inspectedPath));
    return { [Symbol.asyncDispose]: () => this.#inspect() };
  }

  async powerOff(): Promise<void> {
    await this.#stop();
    await this.tpm.kill();
  }

  async dispose(): Promise<void> {
    await this.#stop();
    await this.tpm.stop();
    if (this.#is.ownsDir) await rm(this.dir, { recursive: true, force: true });
  }

  async #stop(): Promise<void> {
    this.#bootId = null;
    clearInterval(this.#inspecting);
    if (this.#network !== null && typeof this.#network !== 'string')
      await this.#network[Symbol.asyncDispose]();
    this.#network = null;
  }

  #inspect(): Promise<void> {
    return this.#replace(inspectedPath, inspectedDisk(this.#is.volume, new Date()));
  }

  /** At once: whoever reads it meanwhile sees one or the other. */
  async #replace(path: string, content: string): Promise<void> {
    const target = join(this.sysroot, path);
    await writeFile(`${target}.next`, content);
    await rename(`${target}.next`, target);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.dispose();
  }
}

/** The same volume at each boot, and in a later run. */
async function readVolume(dir: string): Promise<Volume> {
  const file = join(dir, 'volume');
  const kept = await readFile(file, 'utf8').catch(() => null);
  if (kept !== null) return volumeOf(kept);
  const uuid = randomUUID();
  await mkdir(dir, { recursive: true });
  await writeFile(file, uuid);
  return volumeOf(uuid);
}

async function writeSysroot(
  sysroot: string,
  bootId: string,
  log: Buffer,
  ima: Buffer,
  volume: Volume,
): Promise<void> {
  const files: Readonly<Record<string, string | Buffer>> = {
    'etc/os-release':
      'PRETTY_NAME="Debian GNU/Linux 13 (trixie)"\nNAME="Debian GNU/Linux"\nID=debian\nVERSION_ID="13"\n',
    'proc/version': 'Linux version 6.12.48+deb13-amd64 (fixture) #1 SMP PREEMPT_DYNAMIC\n',
    'proc/stat': `cpu  0 0 0 0 0 0 0 0 0 0\nbtime ${Math.floor(Date.now() / 1000)}\n`,
    'proc/sys/kernel/random/boot_id': `${bootId}\n`,
    'sys/class/dmi/id/sys_vendor': 'Assay fixture\n',
    'etc/ssh/sshd_config': 'Include /etc/ssh/sshd_config.d/*.conf\nPermitRootLogin no\nUsePAM yes\n',
    'etc/ssh/sshd_config.d/50-worker.conf': 'PasswordAuthentication no\n',
    ...hostFiles,
    ...diskFiles(volume, new Date()),
    [bootLogPath]: log,
    [imaLogPath]: ima,
    ...Object.fromEntries(filesOf(log)),
  };
  await rm(sysroot, { recursive: true, force: true });
  for (const [path, content] of Object.entries(files)) {
    await mkdir(join(sysroot, dirname(path)), { recursive: true });
    await writeFile(join(sysroot, path), content);
  }
  for (const [path, target] of Object.entries(diskLinks)) {
    await mkdir(join(sysroot, dirname(path)), { recursive: true });
    await symlink(target, join(sysroot, path));
  }
}
