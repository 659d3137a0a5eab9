import { start } from 'node-tpm2/run';

export interface End {
  readonly code: number | null;
  readonly stdout: string;
  readonly stderr: string;
}

/** Where the processes of a run share what was compiled or made: it changes nothing but the time that a program takes. */
export const shared: Readonly<Record<string, string>> = Object.fromEntries(
  ['NODE_COMPILE_CACHE', 'ASSAY_TEST_MADE'].flatMap((name) => {
    const value = process.env[name];
    return value === undefined ? [] : [[name, value]];
  }),
);

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
  const child = start(program, rest, { env: { ...shared, ...env }, stdio: ['ignore', 'pipe', 'pipe'] });
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
