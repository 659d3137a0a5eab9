import { existsSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { acquireLock, type LockPlace, lockPlace } from './lock.ts';
import { type MemoryDir, makeMemoryDir } from './memory-dir.ts';
import { type RunResult, run } from './run.ts';
import { checkPresent, noTpm, parseTcti, type Tcti } from './tcti.ts';
import { ToolError } from './tool-error.ts';

export interface TpmOptions {
  /** As tpm2-tools take it: `device:/dev/tpmrm0`, `swtpm:path=/abs/sock`, … */
  readonly tcti: string;
  /**
   * Folder of this user for the lock by which programs use the TPM one after the other. Default: none. The device is
   * locked, or the folder of the socket, so that programs of all users exclude each other.
   */
  readonly lockDir?: string;
  /** Parent of the private folder, a tmpfs. Default: /dev/shm, else /run. */
  readonly runtimeDir?: string;
  /** Ends every call that is under way, and removes the private folder. */
  readonly signal?: AbortSignal;
  /** For one tool, in milliseconds, and for the wait on other programs. Making a key may take four times as long. Default 15 s. */
  readonly timeoutMs?: number;
  /** Added to the tools' minimal environment, for example another PATH. */
  readonly env?: Readonly<Record<string, string>>;
}

/** A tool's run inside one verb. */
export interface ToolCall {
  /** The tool leaves an object in a TPM without resource manager. */
  readonly leavesObject?: boolean;
  /** The tool makes a key. */
  readonly slow?: boolean;
  /** The tool tidies up, so it runs although the signal was aborted. */
  readonly cleanup?: boolean;
}

/** One program's access to one TPM: a verb at a time, in this process and across programs. */
export class TpmConnection {
  readonly tcti: Tcti;
  readonly #options: TpmOptions;
  readonly #dir: MemoryDir;
  readonly #lock: LockPlace;
  #turn: Promise<void> = Promise.resolve();
  #mustFlush = false;
  #closed = false;

  constructor(options: TpmOptions, tcti: Tcti, dir: MemoryDir, lock: LockPlace) {
    this.#options = options;
    this.tcti = tcti;
    this.#dir = dir;
    this.#lock = lock;
  }

  /**
   * Runs one verb, which may call several tools, while no other program uses the TPM. The result is given at
   * once; objects that the verb left in the TPM are flushed afterwards, still under the lock.
   */
  verb<T>(name: string, work: () => Promise<T>): Promise<T> {
    return new Promise<T>((resolve, reject) => {
      this.#turn = this.#turn.then(async () => {
        try {
          if (this.#closed)
            throw new ToolError(`${name}: this TPM is closed`, { code: 'closed', tool: name });
          await this.#locked(() =>
            this.flushLeftovers()
              .then(() => this.#retryWithoutLeftovers(work))
              .then(resolve, reject),
          );
        } catch (error) {
          // Changes nothing where the verb gave its result: the next verb repeats a failed flush.
          reject(error);
        }
      });
    });
  }

  /** @throws ToolError, `no_tpm` if no TPM answers */
  async tool(program: string, args: readonly string[], call: ToolCall = {}): Promise<RunResult> {
    const timeoutMs = (this.#options.timeoutMs ?? defaultTimeoutMs) * (call.slow ? 4 : 1);
    if (call.leavesObject && !this.tcti.hasResourceManager) this.#mustFlush = true;
    try {
      return await run(program, args, {
        timeoutMs,
        maxOutputBytes: 65_536,
        env: { ...this.#options.env, TPM2TOOLS_TCTI: this.tcti.text },
        ...(this.#options.signal && !call.cleanup && { signal: this.#options.signal }),
      });
    } catch (error) {
      throw error instanceof ToolError && isUnreachable(error) ? noTpm(this.tcti, error) : error;
    }
  }

  /** Frees the transient objects of a TPM without resource manager; elsewhere there is nothing to free. */
  async flushTransient(): Promise<void> {
    if (this.tcti.hasResourceManager) return;
    await this.tool('tpm2_flushcontext', ['-t'], { cleanup: true });
    this.#mustFlush = false;
  }

  /** Flushes a saved session and removes its file; does nothing where a failure kept it from being made. */
  async endSession(file: string): Promise<void> {
    if (!existsSync(file)) return;
    await this.tool('tpm2_flushcontext', [file], { cleanup: true }).catch((error: unknown) => {
      // A command that failed may have ended the session.
      if (!(error instanceof ToolError) || error.code !== 'failed') throw error;
    });
    rmSync(file, { force: true });
  }

  /** Path of a file in the private folder. */
  file(name: string): string {
    return join(this.#dir.path, name);
  }

  /** Reads a file that a tool left in the private folder, and removes it. */
  takeFile(name: string): Buffer {
    const bytes = readFileSync(this.file(name));
    rmSync(this.file(name));
    return bytes;
  }

  putFile(name: string, bytes: Uint8Array): string {
    writeFileSync(this.file(name), bytes, { mode: 0o600 });
    return this.file(name);
  }

  /** Waits for the verbs under way, then removes the private folder. */
  async close(): Promise<void> {
    this.#closed = true;
    await this.#turn;
    this.#dir.remove();
  }

  async #locked(work: () => Promise<void>): Promise<void> {
    const { env, signal } = this.#options;
    const release = await acquireLock({
      ...this.#lock,
      timeoutMs: this.#options.timeoutMs ?? defaultTimeoutMs,
      ...(env && { env }),
      ...(signal && { signal }),
    });
    try {
      await work();
      await this.flushLeftovers();
    } finally {
      await release();
    }
  }

  /** Frees the objects that earlier verbs left in the TPM, if there are any. */
  async flushLeftovers(): Promise<void> {
    if (this.#mustFlush) await this.flushTransient();
  }

  /** Programs that died before their flush fill a TPM without resource manager: free it, and try once more. */
  async #retryWithoutLeftovers<T>(work: () => Promise<T>): Promise<T> {
    try {
      return await work();
    } catch (error) {
      if (this.tcti.hasResourceManager || !(error instanceof ToolError)) throw error;
      if (error.responseName === undefined || !memoryIsFull.has(error.responseName)) throw error;
      await this.flushTransient();
      await this.tool('tpm2_flushcontext', ['-l']);
      return work();
    }
  }
}

/** @throws ToolError `bad_input`, `no_tpm`, `lock_failed` */
export async function connect(options: TpmOptions): Promise<TpmConnection> {
  const tcti = parseTcti(options.tcti);
  checkPresent(tcti);
  const lock = await lockPlace(tcti, options.lockDir);
  return new TpmConnection(options, tcti, makeMemoryDir(options.runtimeDir, options.signal), lock);
}

const defaultTimeoutMs = 15_000;

const memoryIsFull: ReadonlySet<string> = new Set([
  'TPM_RC_OBJECT_MEMORY',
  'TPM_RC_SESSION_MEMORY',
  'TPM_RC_SESSION_HANDLES',
  'TPM_RC_OBJECT_HANDLES',
  'TPM_RC_MEMORY',
]);

function isUnreachable(error: ToolError): boolean {
  const said = error.message.includes('Could not load tcti');
  return said || (error.responseName?.startsWith('TSS2_TCTI_') ?? false);
}
