import { policyView } from '../../../api/api.ts';
import { listOf } from '../../../api/list.ts';
import { policyRevisionView } from '../../../api/policy-api.ts';
import { policyLabel } from '../../../formats/policy-label.ts';
import { unifiedDiff } from '../../../policy/line-diff.ts';
import { printable } from '../../../wire/printable.ts';
import type { Client } from '../../client.ts';
import type { CliContext } from '../../context.ts';
import { CliError, exit } from '../../exit.ts';
import { type Format, print } from '../../output.ts';
import { readPolicyRevision } from '../../policy-revision.ts';

/** `policy diff [A] [B]`: B is the one in force by default, and A the one before it. Exits 10 where they differ. */
export async function showPolicyDiff(
  { io, server, exitWith }: CliContext,
  a: string | undefined,
  b: string | undefined,
  format: Format,
): Promise<void> {
  const client = await server();
  const before = await readPolicyRevision(client, a ?? (await digestBefore(client)));
  const after = b === undefined ? await inForce(client) : await readPolicyRevision(client, b);
  const diff = unifiedDiff(before.text.split('\n'), after.text.split('\n'));
  await print(io, format, { before: before.policy, after: after.policy, diff }, () =>
    [`--- ${before.policy}`, `+++ ${after.policy}`, ...diff].map((line) => `${printable(line)}\n`).join(''),
  );
  exitWith(diff.length === 0 ? exit.ok : exit.untrusted);
}

async function digestBefore(client: Client): Promise<string> {
  const { items } = await client.get('/v1/policy/history', listOf(policyRevisionView));
  const before = items.find(({ endedAt }) => endedAt !== null);
  if (before === undefined)
    throw new CliError('no policy was in force before this one, as far as the server keeps them');
  return before.digest;
}

async function inForce(client: Client): Promise<{ readonly policy: string; readonly text: string }> {
  const { text, ...policy } = await client.get('/v1/policy', policyView);
  return { policy: policyLabel(policy), text };
}
