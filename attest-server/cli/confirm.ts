import { printable } from '../wire/printable.ts';
import { Refusal } from './client.ts';
import { CliError, exit } from './exit.ts';
import type { CliIo } from './io.ts';

/** How a person says beforehand what becomes of a question. */
export interface Consent {
  readonly yes?: boolean;
  readonly dryRun?: boolean;
}

/** Asks whether it shall be done, where nobody said so beforehand. @throws CliError if the answer is no */
export type Ask = (question: string) => Promise<void>;

/**
 * Before something that changes nodes or cuts somebody off.
 * @throws CliError (usage) if there is nobody to ask: before the server is asked for anything
 */
export function questions(io: CliIo, { yes = false, dryRun = false }: Consent): Ask {
  if (yes || dryRun) return async () => {};
  const { ask } = io;
  if (ask === null)
    throw new CliError(
      'nothing was changed: this command asks first, and there is no terminal to ask on',
      'Add --yes to do it without a question, or --dry-run to see what it would change.',
      exit.usage,
    );
  return async (question) => {
    const answer = await ask(`${question} [y/N] `);
    if (!/^\s*y(es)?\s*$/i.test(answer ?? '')) throw new CliError('nothing was changed');
  };
}

/**
 * The changes that something would make; or that the server cannot say them, since a revocation must not wait until it can.
 * @throws CliError that the step itself would end with, too
 */
export async function orWhyNot(say: () => Promise<string>): Promise<string> {
  try {
    return await say();
  } catch (error) {
    if (!(error instanceof CliError)) throw error;
    const status = error instanceof Refusal ? error.status : null;
    if (status !== null && status < 500 && status !== 429) throw error;
    return `the server could not say which nodes that would change: ${printable(error.message)}\n`;
  }
}
