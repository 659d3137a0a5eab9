import { resolve } from 'node:path';
import { captureAnswer, listOf, type ReferenceView, referenceView } from '../../protocol/api.ts';
import { reference } from '../../protocol/reference.ts';
import type { CliContext } from '../context.ts';
import { CliError, exit } from '../exit.ts';
import { ago } from '../moment.ts';
import { readReference } from '../offline/reference-file.ts';
import { type Format, print } from '../output.ts';
import { printable } from '../printable.ts';
import { table } from '../table.ts';
import { into } from '../write-file.ts';

/** `reference list`. */
export async function listReferences({ io, server }: CliContext, format: Format): Promise<void> {
  const page = await (await server()).get('/v1/references', listOf(referenceView));
  await print(io, format, page, () =>
    format === 'name'
      ? page.items.map(({ name }) => `${printable(name)}\n`).join('')
      : table(
          ['NAME', 'GROUP', 'STATE', 'FROM', 'BY', 'AGE'],
          page.items.map((item) => row(item, io.now())),
        ),
  );
}

export interface CaptureOptions {
  readonly name: string;
  readonly staged?: boolean;
  readonly output: Format;
}

/** `reference capture NODE...`: a reference of what nodes last proved; more than one where they boot differently. */
export async function captureReference(
  { io, server }: CliContext,
  nodes: readonly string[],
  { name, staged = false, output: format }: CaptureOptions,
): Promise<void> {
  const made = await (await server()).post('/v1/references', { nodes, name, staged }, captureAnswer);
  await print(io, format, made, () => [made, ...made.others].map(captured).join(''));
}

/** `reference approve|retire|revoke NAME`: the steps of a reference's life. */
export async function changeReference(
  { io, server }: CliContext,
  change: 'approve' | 'retire' | 'revoke',
  name: string,
  { reason, output: format }: { readonly reason: string; readonly output: Format },
): Promise<void> {
  const path = `/v1/references/${encodeURIComponent(name)}/${change}`;
  const changed = await (await server()).post(path, { reason }, referenceView);
  await print(io, format, changed, () => sentence(changed));
}

/** `reference export NAME`: the whole of it, for Git or for another server. */
export async function exportReference(
  { io, server }: CliContext,
  name: string,
  { file, output: format }: { readonly file?: string; readonly output: Format },
): Promise<void> {
  const found = await (await server()).get(`/v1/references/${encodeURIComponent(name)}`, reference);
  await print(into(file, io), format, found, () => '');
}

/** `reference import FILE`: one that was computed, exported or kept in Git. */
export async function importReference(
  { io, server }: CliContext,
  file: string,
  { staged = false, output: format }: { readonly staged?: boolean; readonly output: Format },
): Promise<void> {
  const read = readReference(resolve(io.cwd, file));
  if (read.state !== 'active' && read.state !== 'staged')
    throw new CliError(
      `reference ${read.name} is ${read.state}`,
      'Import one that is staged or active; retire and revoke are done on the server.',
      exit.error,
    );
  const sent = staged ? { ...read, state: 'staged' as const } : read;
  const added = await (await server()).post('/v1/references/import', sent, referenceView);
  await print(io, format, added, () => sentence(added));
}

function captured({ name, group, state, captured: from }: ReferenceView): string {
  return `reference ${printable(name)} captured from ${printable(from?.node ?? '-')} for group ${printable(group)}: ${state}\n`;
}

function row({ name, group, state, captured }: ReferenceView, now: number): string[] {
  return [name, group, state, captured?.node ?? '-', captured?.by ?? '-', ago(captured?.at ?? null, now)];
}

function sentence({ name, group, state }: ReferenceView): string {
  return `reference ${printable(name)} of group ${printable(group)} is ${state}\n`;
}
