import {
  type JoinTokenView,
  joinTokenAnswer,
  joinTokenRevoked,
  joinTokenView,
  maxJoinTokenSeconds,
} from '../../api/api.ts';
import { listOf } from '../../api/list.ts';
import { printable } from '../../wire/printable.ts';
import type { CliContext } from '../context.ts';
import { CliError, exit } from '../exit.ts';
import { parseDuration, utc } from '../moment.ts';
import { type Format, print } from '../output.ts';
import { table } from '../table.ts';

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
  if (made.nameEnrolled === true) io.err(whileEnrolled(printable(made.node)));
  if (format !== 'table') return;
  const [, , id] = made.token.split('.');
  const back = id === undefined ? '' : `; assay join-token revoke ${printable(id)} takes it back`;
  io.err(`enrols ${printable(made.node)} once, until ${printable(utc(made.expiresAt))}${back}\n`);
}

export interface JoinTokenListOptions {
  readonly output: Format;
  readonly all?: boolean;
}

/** `join-token list`: those that can be used now; with `--all` also those that were used or are over. */
export async function listJoinTokens(
  { io, server }: CliContext,
  { output: format, all = false }: JoinTokenListOptions,
): Promise<void> {
  const { items, next } = await (await server()).get('/v1/join-tokens', listOf(joinTokenView));
  const now = io.now();
  const shown = all ? items : items.filter((item) => stateOf(item, now) === 'open');
  await print(io, format, { items: shown, next }, () =>
    format === 'name'
      ? shown.map(({ id }) => `${printable(id)}\n`).join('')
      : table(
          ['ID', 'NODE', 'STATE', 'BY', 'UNTIL', 'USED'],
          shown.map((item) => [
            item.id,
            item.node,
            stateOf(item, now),
            item.by ?? '-',
            utc(item.expiresAt),
            utc(item.usedAt),
          ]),
        ),
  );
}

/** `join-token revoke ID`. */
export async function revokeJoinToken({ io, server }: CliContext, id: string): Promise<void> {
  const path = `/v1/join-tokens/${encodeURIComponent(id)}`;
  const { revoked } = await (await server()).delete(path, joinTokenRevoked);
  io.out(`join token ${printable(revoked)} revoked\n`);
}

function stateOf({ expiresAt, usedAt }: JoinTokenView, now: number): 'open' | 'used' | 'expired' {
  if (usedAt !== null) return 'used';
  return Date.parse(expiresAt) > now ? 'open' : 'expired';
}

function whileEnrolled(node: string): string {
  return `A TPM is enrolled as ${node} already: while it is, this token lets no other one in. It only tells the agent which authority the server has.
If the TPM or the board was exchanged, free the name, and then make the token:
  assay enrol revoke ${node} --reason "the TPM was exchanged"
  assay join-token create --node ${node}
`;
}
