import { randomUUID } from 'node:crypto';
import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { dirname, join, resolve } from 'node:path';
import { bootLogPath } from '../agent/collectors/boot-log.ts';
import { imaLogPath } from '../agent/collectors/ima-log.ts';
import type { TpmAuthority } from './authority.ts';
import { type BootOptions, banksOf, bootTpm } from './boot.ts';
import { hostFiles } from './host-files.ts';
import { startKernel } from './kernel.ts';
import { filesOf } from './loader-files.ts';
import { launchTpm, type SoftwareTpm } from './tpm.ts';

export interface MachineOptions {
  /** The recorded firmware log that it boots with first; also decides which PCR banks its TPM has. */
  readonly log: Buffer;
  /** Where TPM state and sysroot are kept; a machine found there is used again. Default: a new folder, removed at the end. */
  readonly dir?: string;
  readonly authority?: TpmAuthority;
}

/** A machine: a TPM and the files that an agent reads, made anew at every boot. */
export interface FixtureMachine extends AsyncDisposable {
  /** Absolute. */
  readonly dir: string;
  /** Stands for `/` when an agent reads /proc, /sys and /etc. */
  readonly sysroot: string;
  readonly tpm: SoftwareTpm;
  /** /proc/sys/kernel/random/boot_id of the boot that is running; null while it is off. */
  readonly bootId: string | null;
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
    ...(options.authority && { authority: options.authority }),
  });
  const machine = new Machine(dir, tpm, options.dir === undefined);
  try {
    await machine.powerCycle(options.log);
  } catch (error) {
    await machine.dispose();
    throw error;
  }
  return machine;
}

class Machine implements FixtureMachine {
  readonly dir: string;
  readonly sysroot: string;
  readonly tpm: SoftwareTpm;
  readonly #ownsDir: boolean;
  #bootId: string | null = null;

  constructor(dir: string, tpm: SoftwareTpm, ownsDir: boolean) {
    this.dir = dir;
    this.sysroot = join(dir, 'sysroot');
    this.tpm = tpm;
    this.#ownsDir = ownsDir;
  }

  get bootId(): string | null {
    return this.#bootId;
  }

  async powerCycle(log: Buffer, options?: BootOptions): Promise<void> {
    this.#bootId = null;
    await bootTpm(this.tpm, log, options);
    const ima = await startKernel(this.tpm);
    const bootId = randomUUID();
    await writeSysroot(this.sysroot, bootId, log, ima);
    this.#bootId = bootId;
  }

  async powerOff(): Promise<void> {
    this.#bootId = null;
    await this.tpm.kill();
  }

  async dispose(): Promise<void> {
    this.#bootId = null;
    await this.tpm.stop();
    if (this.#ownsDir) await rm(this.dir, { recursive: true, force: true });
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.dispose();
  }
}

async function writeSysroot(sysroot: string, bootId: string, log: Buffer, ima: Buffer): Promise<void> {
  const files: Readonly<Record<string, string | Buffer>> = {
    'etc/os-release':
      'PRETTY_NAME="Debian GNU/Linux 13 (trixie)"\nNAME="Debian GNU/Linux"\nID=debian\nVERSION_ID="13"\n',
    'proc/version': 'Linux version 6.12.48+deb13-amd64 (fixture) #1 SMP PREEMPT_DYNAMIC\n',
    'proc/stat': `cpu  0 0 0 0 0 0 0 0 0 0\nbtime ${Math.floor(Date.now() / 1000)}\n`,
    'proc/sys/kernel/random/boot_id': `${bootId}\n`,
    'sys/class/dmi/id/sys_vendor': 'Assay fixture\n',
    ...hostFiles,
    [bootLogPath]: log,
    [imaLogPath]: ima,
    ...Object.fromEntries(filesOf(log)),
  };
  await rm(sysroot, { recursive: true, force: true });
  for (const [path, content] of Object.entries(files)) {
    await mkdir(join(sysroot, dirname(path)), { recursive: true });
    await writeFile(join(sysroot, path), content);
  }
}
