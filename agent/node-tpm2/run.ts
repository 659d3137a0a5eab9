import { type ChildProcess, type SpawnOptions, spawn } from 'node:child_process';
import { Socket } from 'node:net';
import { parseFailedCommand, parseResponseCode } from './response-code.ts';
import { ToolError } from './tool-error.ts';

export { ToolError, type ToolErrorCode, toolErrorCodes } from './tool-error.ts';

export interface RunOptions {
  /** Written to the program's standard input, which is then closed. The place for a secret. */
  readonly input?: Uint8Array;
  /** After this many milliseconds the program is killed. */
  readonly timeoutMs: number;
  /** Standard output beyond this many bytes kills the program. */
  readonly maxOutputBytes: number;
  /** Added to the minimal environment: PATH, LC_ALL=C, and a silent TPM software stack. */
  readonly env?: Readonly<Record<string, string>>;
  readonly signal?: AbortSignal;
  /** True: a program that ends meanwhile does not wait for this one. */
  readonly background?: boolean;
  /** Open descriptors that the program inherits as 3, 4, … */
  readonly descriptors?: readonly number[];
}

export interface RunResult {
  readonly stdout: Buffer;
  /** At most the first 8 KiB. */
  readonly stderr: string;
}

/**
 * Runs one program by its argument vector (never a shell) until it exits with status 0.
 * @throws ToolError `missing_program`, `timeout`, `output_bound`, `aborted`, `failed`
 */
export function run(program: string, args: readonly string[], options: RunOptions): Promise<RunResult> {
  const { input, signal } = options;
  if (signal?.aborted) return Promise.reject(abortedError(program, signal));
  const child = start(program, args, {
    ...(options.env && { env: options.env }),
    stdio: [input === undefined ? 'ignore' : 'pipe', 'pipe', 'pipe', ...(options.descriptors ?? [])],
  });
  return new Promise((resolve, reject) => {
    const output: Buffer[] = [];
    const complaints: Buffer[] = [];
    let outputBytes = 0;
    let complaintBytes = 0;
    let fault: ToolError | undefined;

    const kill = (reason: ToolError) => {
      fault ??= reason;
      child.kill('SIGKILL');
      // A grandchild may still hold the pipes: do not wait for it.
      child.stdout?.destroy();
      child.stderr?.destroy();
    };
    const timer = setTimeout(
      () =>
        kill(
          new ToolError(`${program} gave no answer within ${options.timeoutMs} ms and was killed`, {
            code: 'timeout',
            tool: program,
            signal: 'SIGKILL',
          }),
        ),
      options.timeoutMs,
    );
    if (options.background === true) letGo(child, timer);
    const onAbort = () => kill(abortedError(program, signal));
    signal?.addEventListener('abort', onAbort, { once: true });

    child.stdout?.on('data', (chunk: Buffer) => {
      outputBytes += chunk.length;
      if (outputBytes <= options.maxOutputBytes) output.push(chunk);
      else
        kill(
          new ToolError(`${program} wrote more than ${options.maxOutputBytes} bytes and was killed`, {
            code: 'output_bound',
            tool: program,
            signal: 'SIGKILL',
          }),
        );
    });
    child.stderr?.on('data', (chunk: Buffer) => {
      if (complaintBytes < stderrBytes) complaints.push(chunk.subarray(0, stderrBytes - complaintBytes));
      complaintBytes += chunk.length;
    });
    // A program may exit without reading all of its input; its exit status says whether that is a fault.
    child.stdin?.on('error', () => {});
    child.stdin?.end(input);

    const settle = () => {
      clearTimeout(timer);
      signal?.removeEventListener('abort', onAbort);
    };
    child.once('error', (cause) => {
      settle();
      reject(startError(program, cause));
    });
    child.once('close', (exitCode, killedBy) => {
      settle();
      const stderr = Buffer.concat(complaints).toString('utf8');
      const stdout = Buffer.concat(output);
      // The output may be a secret: only the caller's copy stays.
      for (const chunk of output) chunk.fill(0);
      if (fault === undefined && exitCode === 0) return resolve({ stdout, stderr });
      stdout.fill(0);
      reject(fault ?? exitError(program, exitCode, killedBy, stderr));
    });
  });
}

export interface StartOptions {
  readonly env?: Readonly<Record<string, string>>;
  readonly stdio: NonNullable<SpawnOptions['stdio']>;
  /** True: the program leads a process group of its own, so a Ctrl-C at the terminal does not reach it. */
  readonly detached?: boolean;
}

/**
 * Starts a program that stays (a software TPM), by argument vector and with the minimal environment. Who
 * starts it listens for `error` (see `startError`) and ends it.
 */
export function start(program: string, args: readonly string[], options: StartOptions): ChildProcess {
  return spawn(program, [...args], {
    env: { ...minimalEnvironment, ...options.env },
    stdio: options.stdio,
    detached: options.detached ?? false,
  });
}

/** The typed form of a child's `error` event; a missing program says which Debian package to install. */
export function startError(program: string, cause: Error): ToolError {
  if (!('code' in cause) || cause.code !== 'ENOENT')
    return new ToolError(`${program} could not be started: ${cause.message}`, {
      code: 'failed',
      tool: program,
      cause,
    });
  const debianPackage = packageOf(program);
  const remedy =
    debianPackage === null
      ? 'install it'
      : `install the Debian package ${debianPackage} (apt install ${debianPackage})`;
  return new ToolError(`${program} is not installed: ${remedy}`, {
    code: 'missing_program',
    tool: program,
    cause,
  });
}

/** Its pipes end with this program, which ends it as soon as it writes. */
function letGo(child: ChildProcess, timer: NodeJS.Timeout): void {
  timer.unref();
  child.unref();
  for (const pipe of [child.stdout, child.stderr]) if (pipe instanceof Socket) pipe.unref();
}

const stderrBytes = 8192;

const minimalEnvironment: Readonly<Record<string, string>> = {
  PATH: '/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin',
  LC_ALL: 'C',
  TSS2_LOG: 'all+NONE',
};

function exitError(tool: string, exitCode: number | null, signal: string | null, stderr: string): ToolError {
  const response = tool.startsWith('tpm2_') ? parseResponseCode(stderr) : null;
  const how = exitCode === null ? `was ended by ${signal}` : `exited with ${exitCode}`;
  const said = stderr.trim().split('\n').slice(0, 4).join(' | ').slice(0, 600);
  const name = response === null ? '' : ` (${response.name}${response.about ? `, ${response.about}` : ''})`;
  return new ToolError(`${tool} ${how}${name}: ${said || 'it said nothing'}`, {
    code: 'failed',
    tool,
    exitCode,
    signal,
    ...(response && {
      responseCode: response.value,
      responseName: response.name,
      command: parseFailedCommand(stderr),
    }),
    retryable: response?.retryable ?? false,
  });
}

function abortedError(tool: string, signal: AbortSignal | undefined): ToolError {
  return new ToolError(`${tool} was aborted`, { code: 'aborted', tool, cause: signal?.reason });
}

function packageOf(program: string): string | null {
  if (program.startsWith('tpm2_')) return 'tpm2-tools';
  return packages[program] ?? null;
}

const packages: Readonly<Record<string, string>> = {
  swtpm: 'swtpm',
  swtpm_setup: 'swtpm-tools',
  swtpm_ioctl: 'swtpm-tools',
  openssl: 'openssl',
  flock: 'util-linux',
  findmnt: 'mount',
  lsblk: 'util-linux',
  cat: 'coreutils',
  dd: 'coreutils',
  cryptsetup: 'cryptsetup-bin',
  'systemd-socket-activate': 'systemd',
  dmsetup: 'dmsetup',
  nft: 'nftables',
  'iptables-save': 'iptables',
  'ip6tables-save': 'iptables',
  ss: 'iproute2',
  xz: 'xz-utils',
};
