import { type AuthorityView, authorityView } from '../../api/authority-api.ts';
import { printable } from '../../wire/printable.ts';
import { type Consent, questions } from '../confirm.ts';
import type { CliContext } from '../context.ts';
import { CliError, exit } from '../exit.ts';
import { utc } from '../moment.ts';
import { type Format, print } from '../output.ts';
import { withShortDigests } from '../readable.ts';
import { counted, listed } from '../sentence.ts';
import { table } from '../table.ts';
import { into } from '../write-file.ts';

/** `authority status`: which authority vouches for the server, and which follows it. */
export async function showAuthority({ io, server }: CliContext, format: Format): Promise<void> {
  const view = await (await server()).get('/v1/authority', authorityView);
  await print(io, format, view, () => page(view));
}

/** `authority rotate|retire`: a step from an authority to the next that cuts nobody off. */
export async function changeAuthority(
  { io, server }: CliContext,
  step: 'rotate' | 'retire',
  format: Format,
): Promise<void> {
  const view = await (await server()).post(`/v1/authority/${step}`, {}, authorityView);
  await print(io, format, view, () => page(view));
}

export interface FinishOptions extends Consent {
  readonly force?: boolean;
  readonly output: Format;
}

/** `authority finish`: from then on, nodes that do not trust the announced authority refuse the server. */
export async function finishAuthority(
  { io, server, exitWith }: CliContext,
  options: FinishOptions,
): Promise<void> {
  const { force = false, dryRun = false, output: format } = options;
  const ask = questions(io, options);
  const client = await server();
  const before = await client.get('/v1/authority', authorityView);
  const { stage, untold } = before;
  if (dryRun) {
    await print(io, format, before, () => `${refusing(before)}\n`);
    exitWith(stage === 'announced' && untold > 0 ? exit.untrusted : exit.ok);
    return;
  }
  // In any other stage the server says what is to be done before.
  if (stage === 'announced') {
    if (untold > 0 && !force)
      throw new CliError(
        refusing(before),
        'Wait until they trust it (assay authority status), or use --force and give them its file yourself.',
      );
    io.err(`${refusing(before)}; join tokens made before this will no longer work\n`);
    await ask('Use the announced authority from now on?');
  }
  const view = await client.post('/v1/authority/finish', { force }, authorityView);
  await print(io, format, view, () => page(view));
}

function refusing({ stage, nodes, untold, waitingFor }: AuthorityView): string {
  if (stage !== 'announced') return 'no authority has been announced, so the server cannot change to one';
  if (untold === 0)
    return nodes === 0
      ? 'no node is enrolled yet'
      : `${counted(nodes, 'node')}, and each trusts the announced authority`;
  const trusting = untold === 1 ? 'does not trust' : 'do not trust';
  return `${untold} of ${counted(nodes, 'node')} ${trusting} the announced authority yet, and would refuse the server: ${listed(waitingFor, 10, untold)}`;
}

/** `authority export FILE|-`: the certificates as PEM. */
export async function exportAuthority({ io, server }: CliContext, file: string): Promise<void> {
  const view = await (await server()).get('/v1/authority', authorityView);
  const pem = view.authorities.map(({ certificate }) => certificate).join('');
  into(file === '-' ? undefined : file, io).out(pem);
}

function page({ stage, authorities, nodes, untold, waitingFor }: AuthorityView): string {
  const rows = authorities.map(({ digest, state, expiresAt }) => [
    withShortDigests(digest),
    state,
    utc(expiresAt),
  ]);
  const listed = table(['AUTHORITY', 'STATE', 'UNTIL'], rows);
  if (stage === 'settled') return listed;
  const trusting = `${nodes - untold} of ${nodes} nodes trust the newer one\n`;
  const more = untold > waitingFor.length ? `  and ${untold - waitingFor.length} more\n` : '';
  const missing = waitingFor.map((name) => `  not yet: ${printable(name)}\n`).join('');
  const next =
    stage === 'in_force'
      ? 'join tokens made before this no longer work; next:\n  assay authority retire\n'
      : untold === 0
        ? 'next:\n  assay authority finish\n'
        : 'agents learn of it with their next verdict; next:\n  assay authority status\n';
  return `${listed}${trusting}${missing}${more}${next}`;
}
