import { resolve } from 'node:path';
import { captureAnswer, type ReferenceView, referenceDeleted, referenceView } from '../../api/api.ts';
import { listOf } from '../../api/list.ts';
import { isAnnounced, reference, referenceKinds } from '../../formats/reference.ts';
import { printable } from '../../wire/printable.ts';
import { type Consent, questions } from '../confirm.ts';
import type { CliContext } from '../context.ts';
import { CliError, exit } from '../exit.ts';
import { relative, tableTime, utc } from '../moment.ts';
import { type ReadForeign, readForeign } from '../offline/foreign/read-foreign.ts';
import { withNftJson } from '../offline/nft-text.ts';
import { readReference } from '../offline/reference-file.ts';
import { type Format, print } from '../output.ts';
import { readingOf } from '../readable.ts';
import { counted } from '../sentence.ts';
import { table } from '../table.ts';
import { into } from '../write-file.ts';
import { confirmCapture, demandedText, noDemandText, trialText, tryCapture } from './capture-trial.ts';

export interface ListOptions {
  readonly kind?: string;
  readonly output: Format;
  readonly utc?: boolean;
}

/** `reference list`. */
export async function listReferences(
  { io, server }: CliContext,
  { kind, output: format, utc = false }: ListOptions,
): Promise<void> {
  checkKind(kind);
  const { items, next } = await (await server()).get('/v1/references', listOf(referenceView));
  const shown = items.filter((item) => kind === undefined || item.kind === kind);
  const listsFiles = shown.some(({ files }) => files !== undefined);
  const listsValues = shown.some(({ byValue }) => byValue !== undefined);
  await print(io, format, { items: shown, next }, () =>
    format === 'name'
      ? shown.map(({ name }) => `${printable(name)}\n`).join('')
      : table(
          [
            ...['NAME', 'KIND', 'GROUP', 'STATE', 'FROM', 'BY', 'AGE'],
            ...(listsFiles ? ['FILES'] : []),
            ...(listsValues ? ['BY VALUE'] : []),
            ...(format === 'wide' ? changes : []),
          ],
          shown.map((item) => [
            ...row(item, io.now(), utc),
            ...(listsFiles ? [String(item.files ?? '-')] : []),
            ...(listsValues ? [byValueText(item) ?? '-'] : []),
            ...(format === 'wide' ? lastChange(item, io.now(), utc) : []),
          ]),
        ),
  );
}

export function checkKind(kind: string | undefined): void {
  if (kind !== undefined && !referenceKinds.some((known) => known === kind))
    throw new CliError(
      `${kind} is not a kind of reference`,
      `There are ${referenceKinds.join(', ')}.`,
      exit.usage,
    );
}

export interface CaptureFlags extends Consent {
  readonly name: string;
  readonly kind: string;
  readonly group?: string;
  readonly staged?: boolean;
  readonly only: readonly string[];
  readonly initrd?: boolean;
  /** False: demand no proof of others. */
  readonly aggregate: boolean;
  readonly reason?: string;
  readonly output: Format;
}

/**
 * `reference capture NODE...`: a reference of what nodes last proved; more than one where they differ. It asks where more
 * stands against one of them than that nobody vouched for it yet, and where a node would lose its trust by it.
 */
export async function captureReference(
  { io, server }: CliContext,
  nodes: readonly string[],
  options: CaptureFlags,
): Promise<void> {
  const { name, kind, group, staged = false, only, initrd = false, aggregate, reason } = options;
  const { output: format } = options;
  checkKind(kind);
  if (only.length > 0 && kind !== 'runtime')
    throw new CliError('--only is for files', 'Give it with --kind runtime.', exit.usage);
  if (initrd && kind !== 'runtime')
    throw new CliError('--initrd is for files', 'Give it with --kind runtime.', exit.usage);
  if (!aggregate && kind !== 'boot')
    throw new CliError('--no-aggregate is for boots', 'Leave it away with another kind.', exit.usage);
  // An older server captures boots, and does not know the word.
  const asked = {
    nodes,
    name,
    ...(kind !== 'boot' && { kind }),
    ...(group !== undefined && { group }),
    staged,
    ...(only.length > 0 && { only }),
    ...(initrd && { initrd }),
    ...(!aggregate && { aggregate }),
  };
  const client = await server();
  const { dryRun = false } = options;
  if (dryRun) {
    const trial = await tryCapture(client, asked);
    return print(
      io,
      format,
      trial,
      () => `${trial.references.map(wouldCapture).join('')}${trialText(trial, readingOf(io))}`,
    );
  }
  // Of one that is staged, `approve` says whom it changes.
  const more =
    staged && kind !== 'boot'
      ? { ...(reason !== undefined && { reason }) }
      : await confirmCapture(io, client, asked, options);
  const made = await client.post('/v1/references', { ...asked, ...more }, captureAnswer);
  for (const each of [made, ...made.others]) io.err(`${unseenText(each)}${noDemandText(each, aggregate)}`);
  await print(io, format, made, () => [made, ...made.others].map(captured).join(''));
}

export interface DeleteOptions extends Consent {
  readonly reason: string;
}

/** `reference delete NAME`: one that decides nothing; whoever may want it again exports it before. */
export async function deleteReference(
  { io, server }: CliContext,
  name: string,
  options: DeleteOptions,
): Promise<void> {
  const { dryRun = false } = options;
  const ask = questions(io, options);
  const client = await server();
  const { items } = await client.get('/v1/references', listOf(referenceView));
  const found = items.find((item) => item.name === name);
  if (found === undefined) throw new CliError(`there is no reference ${name}`, 'See: assay reference list');
  const told = deletedText(found, io.now());
  if (dryRun) return io.out(told);
  io.err(told);
  await ask(`Delete reference ${printable(name)}?`);
  const { deleted } = await client.post(
    `${pathOf(name)}/delete`,
    { reason: options.reason },
    referenceDeleted,
  );
  io.out(`reference ${printable(deleted)} is deleted\n`);
}

function deletedText(found: ReferenceView, now: number): string {
  const { name, kind, group, state, files } = found;
  const what = files === undefined ? kind : `${kind}, ${counted(files, 'file')}`;
  const isOpen = isAnnounced(found, now);
  const decidesNothing = (state === 'staged' || state === 'retired') && !isOpen;
  const why = isOpen ? 'it is announced, which assay expect --end takes back' : 'it decides something';
  const outcome = decidesNothing ? 'no node would change' : `${why}, and is not deleted`;
  return `reference ${printable(name)} (${what}) of group ${printable(group)} is ${state}: ${outcome}\n`;
}

/** `reference export NAME`: the whole of it, for Git or for another server. */
export async function exportReference(
  { io, server }: CliContext,
  name: string,
  { file, output: format }: { readonly file?: string; readonly output: Format },
): Promise<void> {
  const found = await (await server()).get(pathOf(name), reference);
  await print(into(file, io), format, found, () => '');
}

export interface ImportOptions {
  readonly staged?: boolean;
  readonly name?: string;
  readonly group?: string;
  readonly output: Format;
}

/** `reference import FILE`: one that was computed, exported or kept in Git; or what another program expects of a boot. */
export async function importReference(
  context: CliContext,
  files: readonly string[],
  options: ImportOptions,
): Promise<void> {
  const { io, server } = context;
  const foreign = readForeign(
    files.map((file) => resolve(io.cwd, file)),
    options,
  );
  if (foreign !== null) return importForeign(context, foreign, options.output);
  const [file = '', ...more] = files;
  const { staged = false, name, group } = options;
  if (more.length > 0 || name !== undefined || group !== undefined)
    throw new CliError(
      'several files, --name and --group are for files of other programs',
      'Import one reference at a time.',
      exit.usage,
    );
  const read = await withNftJson(readReference(resolve(io.cwd, file)), file);
  if (read.state !== 'active' && read.state !== 'staged')
    throw new CliError(
      `reference ${read.name} is ${read.state}`,
      'Import one that is staged or active; retire and revoke are done on the server.',
      exit.error,
    );
  const sent = staged ? { ...read, state: 'staged' as const } : read;
  const added = await (await server()).post('/v1/references/import', sent, referenceView);
  io.err(demandedText(added));
  await print(io, options.output, added, () => stateSentence(added));
}

/** Staged: what of them was left out is for a person to weigh. */
async function importForeign(
  { io, server }: CliContext,
  { references, notes }: ReadForeign,
  format: Format,
): Promise<void> {
  for (const note of notes) io.err(`${printable(note)}\n`);
  const client = await server();
  const added: ReferenceView[] = [];
  for (const each of references) added.push(await client.post('/v1/references/import', each, referenceView));
  await print(io, format, { items: added, notes }, () => added.map(stateSentence).join(''));
}

/** The warning for a person who vouches for it; empty if there is none. */
export function unseenText({ name, captured: from, unseen = [] }: ReferenceView): string {
  if (unseen.length === 0) return '';
  const files = unseen.length === 1 ? '1 file' : `${unseen.length} files`;
  const named = unseen.slice(0, 4).map(printable).join(', ');
  return `nobody has seen ${files} that the boot loader of reference ${printable(name)} read (${named}${unseen.length > 4 ? ', …' : ''}). For these files the reference counts only for ${printable(from?.node ?? 'no node')} and for nodes whose agents send them. Let the agent read /boot and the EFI system partition, and capture again.\n`;
}

export function pathOf(name: string): string {
  return `/v1/references/${encodeURIComponent(name)}`;
}

/** PCRs that are compared as a whole; null if there are none. */
function byValueText({ byValue = [] }: ReferenceView): string | null {
  return byValue.length === 0 ? null : `PCR ${byValue.join(', ')}`;
}

function captured(view: ReferenceView): string {
  const { group, state } = view;
  return `reference ${ofNode(view)} for group ${printable(group)}: ${state}\n`;
}

function wouldCapture(view: ReferenceView): string {
  const { group, state } = view;
  return `would make reference ${ofNode(view)} for group ${printable(group)}: ${state}\n`;
}

function ofNode(view: ReferenceView): string {
  const { kind, name, captured: from } = view;
  const value = byValueText(view);
  const what = value === null ? kind : `${kind}, ${value} by value`;
  return `${printable(name)} (${what}) captured from ${printable(from?.node ?? '-')}`;
}

function row(
  { kind, name, group, state, captured }: ReferenceView,
  now: number,
  absolute: boolean,
): string[] {
  return [
    name,
    kind,
    group,
    state,
    captured?.node ?? '-',
    captured?.by ?? '-',
    tableTime(captured?.at ?? null, now, absolute),
  ];
}

const changes = ['CHANGED', 'CHANGED BY', 'WHY'];

function lastChange({ changed }: ReferenceView, now: number, absolute: boolean): string[] {
  if (changed === null) return ['-', '-', '-'];
  const at = absolute ? utc(changed.at) : relative(changed.at, now);
  return [`${changed.action} ${at}`, changed.by, changed.reason];
}

export function stateSentence({ name, group, state }: ReferenceView): string {
  return `reference ${printable(name)} of group ${printable(group)} is ${state}\n`;
}
