import type { NodeState } from '../wire/verdict.ts';

export const exit = { ok: 0, error: 1, usage: 2, untrusted: 10, notTrusted: 11, held: 12 } as const;

/** As `assay --help` and docs/reference-exit-codes.md list them. */
export const exitMeanings = [
  { code: exit.ok, meaning: 'done, or the node is trusted' },
  { code: exit.error, meaning: 'error' },
  { code: exit.usage, meaning: 'wrong usage' },
  {
    code: exit.untrusted,
    meaning: 'untrusted, evidence rejected, difference found, or the audit log is wrong',
  },
  {
    code: exit.notTrusted,
    meaning: 'pending, unknown, unsupported or not judged; or the server is not ready',
  },
  { code: exit.held, meaning: 'held: taints wait for a person, or the latch does not allow it' },
] as const;

export function exitOfState(state: NodeState): number {
  if (state === 'trusted') return exit.ok;
  return state === 'untrusted' ? exit.untrusted : exit.notTrusted;
}

/** By the worst of them. */
export function exitOfStates(states: readonly NodeState[]): number {
  if (states.includes('untrusted')) return exit.untrusted;
  return states.map(exitOfState).find((code) => code !== exit.ok) ?? exit.ok;
}

/** Ends a command: one sentence that says what is wrong, and one that says what to do. */
export class CliError extends Error {
  override readonly name = 'CliError';
  readonly exitCode: number;
  readonly hint: string | null;

  constructor(text: string, hint: string | null = null, exitCode: number = exit.error, cause?: unknown) {
    super(text, cause === undefined ? undefined : { cause });
    this.hint = hint;
    this.exitCode = exitCode;
  }
}
