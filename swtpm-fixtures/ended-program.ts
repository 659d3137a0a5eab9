import type { ChildProcess } from 'node:child_process';
import { startError } from 'node-tpm2/run';

export interface EndedProgram {
  /** Its exit code; null if a signal ended it. */
  readonly code: number | null;
  /** All that it printed, on standard output and standard error. */
  readonly said: string;
}

/** Resolves once a program has ended. @throws ToolError if it cannot be started */
export async function endOfProgram(child: ChildProcess, program: string): Promise<EndedProgram> {
  let said = '';
  for (const stream of [child.stdout, child.stderr])
    stream?.setEncoding('utf8').on('data', (text: string) => {
      said += text;
    });
  const code = await new Promise<number | null>((resolve, reject) => {
    child.once('close', resolve);
    child.once('error', (cause) => reject(startError(program, cause)));
  });
  return { code, said };
}
