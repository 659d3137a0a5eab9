import { mkdir, mkdtemp, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { dirname, join, resolve } from 'node:path';
import { run } from 'node-tpm2/run';
import { sharedAuthority, type TpmAuthority } from './authority.ts';
import { openCommands, type TpmCommands } from './commands.ts';
import { powerOn, setLocality } from './control.ts';
import { type Daemon, startDaemon } from './daemon.ts';
import { madeInTurn } from './made-once.ts';

/**
 * Locality of TPM2_Startup, the first value of PCR 0. Locality 4 is the processor's own (H-CRTM):
 * a TPM takes it only after a hash sequence whose data no log holds, so it cannot be replayed.
 */
export type StartupLocality = 0 | 3;

export interface SoftwareTpmOptions {
  /** Where the TPM keeps its state; a TPM found there is used again. Default: a new folder, removed on stop. */
  readonly dir?: string;
  /** Signs the endorsement certificates. Default: one for this process. */
  readonly authority?: TpmAuthority;
  /** Banks that are allocated when the TPM is made. Default: sha1, sha256, sha384. */
  readonly banks?: readonly ('sha1' | 'sha256' | 'sha384' | 'sha512')[];
  readonly startupLocality?: StartupLocality;
  /** True: it is off until its first `powerCycle`. Default false. */
  readonly isOff?: boolean;
}

export interface PowerCycleOptions {
  /** TPM2_Shutdown(CLEAR) first, as an operating system does; else the power is cut. Default false. */
  readonly orderly?: boolean;
  readonly startupLocality?: StartupLocality;
}

/** A software TPM that is powered on, on Unix sockets of its own. */
export interface SoftwareTpm extends AsyncDisposable {
  /** Absolute. */
  readonly dir: string;
  /** For tpm2-tools and node-tpm2. */
  readonly tcti: string;
  /** The command socket. */
  readonly socket: string;
  readonly authority: TpmAuthority;
  /** Endorsement certificates as the authority signed them, DER: RSA-2048 and ECC P-384. */
  readonly ekCertificates: { readonly rsa: Buffer; readonly ecc: Buffer };
  /** Opens the command socket; it serves one connection at a time, so close it before a tool runs. */
  commands(): Promise<TpmCommands>;
  /** Cuts the power and starts again: PCRs are reset, resetCount rises by one. */
  powerCycle(options?: PowerCycleOptions): Promise<void>;
  /** Cuts the power and leaves it off; `powerCycle` switches it on again. */
  kill(): Promise<void>;
  /** Ends it for good; removes the state where its folder was not given. */
  stop(): Promise<void>;
}

/** Starts a software TPM, manufactured first where `dir` holds none. Any number run side by side. */
export async function launchTpm(options: SoftwareTpmOptions = {}): Promise<SoftwareTpm> {
  const authority = options.authority ?? (await sharedAuthority());
  const dir = options.dir === undefined ? await makeFolder() : resolve(options.dir);
  await mkdir(dir, { recursive: true, mode: 0o700 });
  // A Unix socket's path has at most 107 bytes.
  const socketDir = Buffer.byteLength(join(dir, 'sock.ctrl')) < 108 ? dir : await makeFolder();
  if (!(await isManufactured(dir))) await manufacture(dir, authority, options.banks);
  const tpm = new RunningTpm(dir, join(socketDir, 'sock'), authority, options.dir === undefined, {
    rsa: await readFile(join(dir, 'ek-rsa2048.crt')),
    ecc: await readFile(join(dir, 'ek-secp384r1.crt')),
  });
  return options.isOff ? tpm : tpm.powerOn(options.startupLocality ?? 0);
}

class RunningTpm implements SoftwareTpm {
  readonly dir: string;
  readonly tcti: string;
  readonly socket: string;
  readonly authority: TpmAuthority;
  readonly ekCertificates: { readonly rsa: Buffer; readonly ecc: Buffer };
  readonly #ownsDir: boolean;
  #daemon: Daemon | undefined;

  constructor(
    dir: string,
    socket: string,
    authority: TpmAuthority,
    ownsDir: boolean,
    ekCertificates: { readonly rsa: Buffer; readonly ecc: Buffer },
  ) {
    this.dir = dir;
    this.socket = socket;
    this.tcti = `swtpm:path=${socket}`;
    this.authority = authority;
    this.ekCertificates = ekCertificates;
    this.#ownsDir = ownsDir;
  }

  commands(): Promise<TpmCommands> {
    return openCommands(this.socket);
  }

  async powerOn(startupLocality: StartupLocality): Promise<this> {
    const control = `${this.socket}.ctrl`;
    await rm(this.socket, { force: true });
    await rm(control, { force: true });
    const daemon = await startDaemon('swtpm', [
      ...['socket', '--tpm2', '--tpmstate', `dir=${this.dir}`],
      ...['--server', `type=unixio,path=${this.socket}`, '--ctrl', `type=unixio,path=${control}`],
    ]);
    this.#daemon = daemon;
    const diedEarly = daemon.ended.then((said) => {
      throw new Error(`swtpm ended although it should run: ${said.trim() || 'it said nothing'}`);
    });
    diedEarly.catch(() => undefined);
    await Promise.race([this.#startUp(control, startupLocality), diedEarly]);
    return this;
  }

  async #startUp(control: string, locality: StartupLocality): Promise<void> {
    await powerOn(control, locality);
    const commands = await this.commands();
    await commands.startup();
    await commands.close();
    if (locality !== 0) await setLocality(control, 0);
  }

  async powerCycle(options: PowerCycleOptions = {}): Promise<void> {
    if (options.orderly && this.#daemon) {
      const commands = await this.commands();
      await commands.shutdown();
      await commands.close();
    }
    await this.kill();
    await this.powerOn(options.startupLocality ?? 0);
  }

  async kill(): Promise<void> {
    // SIGTERM makes newer releases of swtpm send TPM2_Shutdown, which a power loss does not.
    await this.#daemon?.kill('SIGKILL');
    this.#daemon = undefined;
  }

  async stop(): Promise<void> {
    await this.kill();
    await rm(this.socket, { force: true });
    await rm(`${this.socket}.ctrl`, { force: true });
    const socketDir = dirname(this.socket);
    if (socketDir !== this.dir) await rm(socketDir, { recursive: true, force: true });
    if (this.#ownsDir) await rm(this.dir, { recursive: true, force: true });
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.stop();
  }
}

const made = ['tpm2-00.permall', 'ek-rsa2048.crt', 'ek-secp384r1.crt'] as const;

async function manufacture(
  dir: string,
  authority: TpmAuthority,
  banks: readonly string[] = ['sha1', 'sha256', 'sha384'],
): Promise<void> {
  const listed = banks.join(',');
  await madeInTurn(`tpm-${listed}`, 16, made, dir, async () => {
    await run(
      'swtpm_setup',
      [
        ...['--tpm2', '--tpm-state', dir, '--config', authority.setupConfig, '--overwrite'],
        ...['--create-ek-cert', '--write-ek-cert-files', dir, '--pcr-banks', listed],
      ],
      { timeoutMs: 60_000, maxOutputBytes: 65_536 },
    );
  });
}

/** The certificates are written before swtpm_setup ends; a folder without both was left half made. */
async function isManufactured(dir: string): Promise<boolean> {
  const found = await Promise.all(
    made.map((name) =>
      readFile(join(dir, name)).then(
        () => true,
        () => false,
      ),
    ),
  );
  return found.every(Boolean);
}

function makeFolder(): Promise<string> {
  return mkdtemp(join(tmpdir(), 'assay-tpm-'));
}
