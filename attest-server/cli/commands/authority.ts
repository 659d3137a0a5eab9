import { type AuthorityView, authorityView } from '../../protocol/authority-api.ts';
import { printable } from '../../protocol/printable.ts';
import type { CliContext } from '../context.ts';
import { utc } from '../moment.ts';
import { type Format, print } from '../output.ts';
import { withShortDigests } from '../readable.ts';
import { table } from '../table.ts';
import { into } from '../write-file.ts';

/** `authority status`: which authority vouches for the server, and which follows it. */
export async function showAuthority({ io, server }: CliContext, format: Format): Promise<void> {
  const view = await (await server()).get('/v1/authority', authorityView);
  await print(io, format, view, () => page(view));
}

/** `authority rotate|finish|retire`: one step from an authority to the next. */
export async function changeAuthority(
  { io, server }: CliContext,
  step: 'rotate' | 'finish' | 'retire',
  body: { readonly force?: boolean },
  format: Format,
): Promise<void> {
  const view = await (await server()).post(`/v1/authority/${step}`, body, authorityView);
  await print(io, format, view, () => page(view));
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
      ? 'join tokens of before are void; next:\n  assay authority retire\n'
      : untold === 0
        ? 'next:\n  assay authority finish\n'
        : 'agents learn of it with their next verdict; next:\n  assay authority status\n';
  return `${listed}${trusting}${missing}${more}${next}`;
}
