import type { z } from 'zod';
import { listOf } from '../../api/list.ts';
import {
  type PolicyRevisionView,
  policyAllowed,
  policyRevisionView,
  policyRolledBack,
  simulateAnswer,
} from '../../api/policy-api.ts';
import { statusView } from '../../api/server-api.ts';
import { turnsUntrusted } from '../../formats/trust-loss.ts';
import { printable } from '../../wire/printable.ts';
import { type Consent, orWhyNot, questions } from '../confirm.ts';
import type { CliContext } from '../context.ts';
import { CliError, exit } from '../exit.ts';
import { tableTime } from '../moment.ts';
import { type Format, print } from '../output.ts';
import { readPolicyRevision, revisionDigits } from '../policy-revision.ts';
import { readSimulation, simulationText } from '../simulation.ts';
import { table } from '../table.ts';
import { into } from '../write-file.ts';

export interface PolicyHistoryOptions {
  readonly output: Format;
  readonly utc?: boolean;
}

/** `policy history`: the policies that were in force at the server, the latest first. */
export async function showPolicyHistory(
  { io, server }: CliContext,
  { output: format, utc = false }: PolicyHistoryOptions,
): Promise<void> {
  const { items } = await (await server()).get('/v1/policy/history', listOf(policyRevisionView));
  await print(io, format, { items, next: null }, () => historyText(items, io.now(), utc));
}

function historyText(items: readonly PolicyRevisionView[], now: number, absolute: boolean): string {
  const time = (moment: string | null) => tableTime(moment, now, absolute);
  return table(
    ['POLICY', 'CAME BY', 'FIRST', 'SINCE', 'UNTIL', 'SOURCE', 'WHY'],
    items.map(({ policy, came, firstAt, lastAt, endedAt, source, by, reason }) => [
      policy,
      came,
      time(firstAt),
      time(lastAt),
      endedAt === null ? 'in force' : time(endedAt),
      source,
      by === null ? '-' : `${by}: ${reason ?? ''}`,
    ]),
  );
}

export interface ShowRevisionOptions {
  readonly output: Format;
  readonly revision: string;
  /** Gets the text byte for byte. */
  readonly file?: string;
}

/** `policy show --revision R`: the text as it was, so that it can be put back. */
export async function showPolicyRevision(
  { io, server }: CliContext,
  { revision, output: format, file }: ShowRevisionOptions,
): Promise<void> {
  const kept = await readPolicyRevision(await server(), revision);
  if (file !== undefined) return into(file, io).out(kept.text);
  await print(io, format, kept, () =>
    format === 'name' ? `${printable(kept.policy)}\n` : kept.text.split('\n').map(printable).join('\n'),
  );
}

export interface PolicyStepOptions extends Consent {
  readonly reason: string;
  readonly output: Format;
}

/** `policy rollback REVISION`: an earlier policy in force; first it says whom that would change, and asks. */
export async function rollBackPolicy(
  { io, server, exitWith }: CliContext,
  revision: string,
  options: PolicyStepOptions,
): Promise<void> {
  const { reason, output: format, dryRun = false } = options;
  const digits = revisionDigits(revision);
  const ask = questions(io, options);
  const client = await server();
  const kept = await readPolicyRevision(client, digits);
  const simulate = () =>
    readSimulation(
      client,
      '/v1/policy/simulate',
      { policy: kept.text, file: kept.source.slice(-255) },
      simulateAnswer,
    );
  if (dryRun) {
    const { items, latched } = await simulate();
    const answer = { policy: kept.policy, latched, items };
    await print(io, format, answer, () => trialText(answer));
    if (latched.length > 0) exitWith(exit.held);
    else exitWith(items.some(turnsUntrusted) ? exit.untrusted : exit.ok);
    return;
  }
  io.err(await orWhyNot(async () => trialText(await simulate())));
  await ask(`Put ${printable(kept.policy)} in force?`);
  const done = await client.post('/v1/policy/rollback', { revision: kept.digest, reason }, policyRolledBack);
  await print(io, format, done, () => {
    const { policy, before, source, untilChanged } = done;
    if (!untilChanged) return `${printable(policy)} is in force again, as ${printable(source)} gives it\n`;
    return [
      `${printable(policy)} is in force, and stays so until the policy in ${printable(source)} changes`,
      `that is still ${printable(before)}: correct it there; this writes the text of ${printable(policy)} to FILE:`,
      `  assay policy show --revision ${digits} -f FILE\n`,
    ].join('\n');
  });
}

/** Whom it would change, and where the latch speaks against it. */
function trialText({ items, latched }: Pick<z.output<typeof simulateAnswer>, 'items' | 'latched'>): string {
  const refused = latched.map(({ text }) => `${printable(text)}\n`).join('');
  return `${refused}${simulationText(items, false)}`;
}

/** `policy allow REVISION`: the one refused for what it does to nodes, or a later one; first it says what is known, and asks. */
export async function allowPolicy(
  { io, server, exitWith }: CliContext,
  revision: string,
  options: PolicyStepOptions,
): Promise<void> {
  const { reason, output: format, dryRun = false } = options;
  const digits = revisionDigits(revision);
  if (digits.length < 12)
    throw new CliError(
      `${revision} is too short to vouch for a text`,
      'Give the 12 digits of the revision, or more of the SHA-256 of the file (sha256sum).',
      exit.usage,
    );
  const ask = questions(io, options);
  const client = await server();
  const { faulty } = await client.get('/v1/status', statusView);
  const waiting = faulty.find(({ refused }) => refused?.digest.startsWith(digits) === true) ?? null;
  const refused = waiting?.refused ?? null;
  const known =
    refused === null
      ? 'no policy of this revision was refused: it may come at the next reload or start, within a week\n'
      : `${printable(refused.policy)} was refused: it would make ${refused.untrusted} of ${refused.trusted} trusted nodes untrusted. Once allowed, it comes into force at once\n`;
  if (dryRun) {
    await print(io, format, { refused }, () => known);
    exitWith((refused?.untrusted ?? 0) > 0 ? exit.untrusted : exit.ok);
    return;
  }
  io.err(known);
  await ask(`Allow ${printable(refused?.policy ?? digits)}?`);
  const allowed = await client.post('/v1/policy/allow', { revision: digits, reason }, policyAllowed);
  await print(io, format, allowed, () => {
    const name = printable(refused?.policy ?? allowed.digest);
    if (allowed.inForce) return `${name} is in force\n`;
    const why = allowed.refused === null ? '' : `; it is not in force yet: ${printable(allowed.refused)}`;
    return `${name} is allowed${why}\n`;
  });
}
