import { joinTokenAnswer, maxJoinTokenSeconds } from '../../protocol/api.ts';
import { printable } from '../../protocol/printable.ts';
import type { CliContext } from '../context.ts';
import { CliError, exit } from '../exit.ts';
import { parseDuration, utc } from '../moment.ts';
import { type Format, print } from '../output.ts';

/** `join-token create`: the token alone on standard output, what to know of it on standard error. */
export async function createJoinToken(
  { io, server }: CliContext,
  { node, ttl, output: format }: { readonly node: string; readonly ttl: string; readonly output: Format },
): Promise<void> {
  const ttlSeconds = parseDuration(ttl, '--ttl');
  if (ttlSeconds < 1 || ttlSeconds > maxJoinTokenSeconds)
    throw new CliError(`--ttl ${ttl} is not between 1s and 24h`, null, exit.usage);
  const made = await (await server()).post('/v1/join-tokens', { node, ttlSeconds }, joinTokenAnswer);
  await print(io, format, made, () => `${printable(made.token)}\n`);
  if (format === 'table')
    io.err(`enrols ${printable(made.node)} once, until ${printable(utc(made.expiresAt))}\n`);
  if (made.nameEnrolled === true) io.err(whileEnrolled(printable(made.node)));
}

function whileEnrolled(node: string): string {
  return `A TPM is enrolled as ${node} already: while it is, this token lets no other one in. It only tells the agent which authority the server has.
If the TPM or the board was exchanged, free the name, and then make the token:
  assay enrol revoke ${node} --reason "the TPM was exchanged"
  assay join-token create --node ${node}
`;
}
