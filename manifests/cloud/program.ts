/**
 * Programs that ask a cloud whose TPM a machine has (`gce`, `aws`). Each is a process that ends, and is bounded
 * in time, in bytes and in where it goes (`ask`). See `docs/clouds.md`.
 */

import { Command, InvalidArgumentError } from 'commander';
import { version } from '../../attest-server/version.ts';
import { CloudFault, type Lookup } from './lookup.ts';

/** The frame of each program: its one argument, and the flags that all have. */
export function cloudProgram(name: string, description: string): Command {
  return (
    new Command(name)
      .description(
        `${description}\n\nWrites {"ek":"<hex>"}: SHA-256 of the public area of the machine's endorsement key.\nExit status: 0 found, 3 the cloud does not know the machine or it has no TPM, 1 no answer, 2 wrong usage.\ndocs/clouds.md says which rights it needs.`,
      )
      .version(version)
      .argument('<providerID>', 'spec.providerID of the Node')
      // The server ends the program after 10 s: it says why before that.
      .option('--within <seconds>', 'give up after this time', secondsIn, 8.5)
      .allowExcessArguments(false)
      .exitOverride((error) => process.exit(error.exitCode === 0 ? 0 : 2))
  );
}

/** Does the look-up within the time, and says the outcome as the server reads it. */
export async function runLookup(
  command: Command,
  lookUp: (providerId: string, signal: AbortSignal) => Promise<Lookup>,
): Promise<void> {
  const [providerId = ''] = command.args;
  const { within } = command.opts<{ readonly within: number }>();
  const end = (text: string, exitCode: number) => {
    process.stderr.write(`${command.name()}: ${text}\n`);
    process.exitCode = exitCode;
  };
  try {
    const found = await lookUp(providerId, AbortSignal.timeout(within * 1000));
    if ('notKnown' in found) return end(found.notKnown, 3);
    process.stdout.write(`${JSON.stringify({ ek: found.ek })}\n`);
  } catch (error) {
    if (!(error instanceof CloudFault)) throw error;
    end(error.message, 1);
  }
}

/** For flags. */
export function urlIn(text: string): URL {
  const url = URL.parse(text);
  if (url === null || !/^https?:$/.test(url.protocol)) throw new InvalidArgumentError('not an address');
  return url;
}

function secondsIn(text: string): number {
  const seconds = Number(text);
  if (seconds > 0 && seconds <= 60) return seconds;
  throw new InvalidArgumentError('not seconds, from 0 to 60');
}
