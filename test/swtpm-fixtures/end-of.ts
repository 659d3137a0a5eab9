import { start } from 'node-tpm2/run';

export interface End {
  readonly code: number | null;
  readonly stdout: string;
  readonly stderr: string;
}

/** Where Node keeps what it compiled: it changes nothing but the time that a program takes to start. */
const { NODE_COMPILE_CACHE: compiled } = process.env;
export const keptModules: Readonly<Record<string, string>> =
  compiled === undefined ? {} : { NODE_COMPILE_CACHE: compiled };

/**
 * Runs the Node that runs the tests with these arguments, in this environment alone, until it ends.
 * @param before argv of a program that starts it
 */
export function endOf(
  args: readonly string[],
  env: Readonly<Record<string, string>>,
  before: readonly string[] = [],
): Promise<End> {
  const [program = '', ...rest] = [...before, process.execPath, ...args];
  const child = start(program, rest, { env: { ...keptModules, ...env }, stdio: ['ignore', 'pipe', 'pipe'] });
  let stdout = '';
  let stderr = '';
  child.stdout?.on('data', (bytes: Buffer) => {
    stdout += bytes.toString();
  });
  child.stderr?.on('data', (bytes: Buffer) => {
    stderr += bytes.toString();
  });
  return new Promise((resolve, reject) => {
    child.once('error', reject);
    child.once('close', (code) => resolve({ code, stdout, stderr }));
  });
}
