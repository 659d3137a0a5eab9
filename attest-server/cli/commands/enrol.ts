import {
  approveAllAnswer,
  approveAnswer,
  type CandidateView,
  candidateView,
  revokeAnswer,
} from '../../api/api.ts';
import { listOf } from '../../api/list.ts';
import type { NodeView } from '../../api/node-api.ts';
import { type VolumeView, volumeView } from '../../api/volume-api.ts';
import { printable } from '../../wire/printable.ts';
import { type Client, Refusal } from '../client.ts';
import { type Consent, orWhyNot, questions } from '../confirm.ts';
import type { CliContext } from '../context.ts';
import { CliError, exit } from '../exit.ts';
import { tableTime } from '../moment.ts';
import { stateText } from '../node-table.ts';
import { type Format, print } from '../output.ts';
import { readNode, readNodes, withGone } from '../read-nodes.ts';
import { counted, listed } from '../sentence.ts';
import { table } from '../table.ts';

/** `enrol list`: TPMs that wait for a person's approval, with whole digests: an approval takes no less. */
export async function listCandidates(
  { io, server }: CliContext,
  { output: format, utc = false }: { readonly output: Format; readonly utc?: boolean },
): Promise<void> {
  const page = await (await server()).get('/v1/enrolments', listOf(candidateView));
  await print(io, format, page, () =>
    table(
      ['NODE', 'EK', 'CERTIFICATE', 'ADDRESS', 'FIRST', 'LAST', 'TRIES', 'NOTE'],
      page.items.map((item) => row(item, io.now(), utc)),
    ),
  );
}

export interface ApproveOptions extends Consent {
  readonly ek?: string;
  readonly all?: boolean;
}

/** `enrol approve NODE --ek DIGEST` or `--all`: a person vouches for a TPM, or for all bindings by first use. */
export async function approveEnrolment(
  { io, server }: CliContext,
  node: string | undefined,
  options: ApproveOptions,
): Promise<void> {
  const isAll = options.all === true;
  if (isAll ? node !== undefined || options.ek !== undefined : node === undefined || !options.ek)
    throw new CliError(
      'enrol approve takes NODE --ek DIGEST, or --all',
      'See which TPMs wait for an approval, with their digests:\n  assay enrol list',
      exit.usage,
    );
  if (!isAll && !/^[0-9a-f]{64}$/i.test(options.ek ?? ''))
    throw new CliError(
      '--ek is not a whole SHA-256 digest (64 hex digits)',
      'Compare all of it on the machine. See which TPMs wait, with their whole digests:\n  assay enrol list',
      exit.usage,
    );
  if (isAll) return approveAll(io, server, options);
  if (options.dryRun === true)
    throw new CliError(
      '--dry-run goes with --all',
      'One approval changes one node: the one named.',
      exit.usage,
    );
  const client = await server();
  const ek = (options.ek ?? '').toLowerCase();
  const path = `/v1/enrolments/${encodeURIComponent(node ?? '')}/approve`;
  const made = await client
    .post(path, { ek }, approveAnswer)
    .catch(async (error: unknown) => Promise.reject(await withRevocation(client, node ?? '', ek, error)));
  const when = made.waiting ? 'when it comes again' : 'when it first comes (it has not come yet)';
  io.out(`${printable(made.ek)} enrols as ${printable(made.node)} ${when}\n`);
  const ofOthers = async () =>
    boundText((await volumesOf(client, made.node)).filter((volume) => volume.ek !== made.ek)).join('');
  io.err(await orWhyNot(ofOthers));
}

const approvedAtOnce = 1000;

async function approveAll(
  io: CliContext['io'],
  server: CliContext['server'],
  options: Consent,
): Promise<void> {
  const ask = questions(io, options);
  const client = await server();
  const bindings = (await readNodes(client, withGone)).flatMap((view) =>
    view.bound === 'first-use' && view.ek !== null && view.reason !== 'trial_enrolment'
      ? [{ ...view, ek: view.ek }]
      : [],
  );
  const shown = bindings.map(({ name, ek }) => ({ node: name, ek }));
  const names = shown.map(({ node }) => node);
  const whom = `${counted(names.length, 'node')} bound by first use${names.length === 0 ? '' : `: ${listed(names, names.length)}`}\n${boundTable(bindings)}`;
  if (options.dryRun === true) return io.out(whom);
  if (names.length > 0) {
    io.err(whom);
    await ask('Vouch for the TPM of each of them?');
  }
  // Those that were shown: who comes while a person reads the list waits for the next one.
  const approved: string[] = [];
  for (let from = 0; from < shown.length; from += approvedAtOnce) {
    const asked = { bindings: shown.slice(from, from + approvedAtOnce) };
    const answer = await client.post('/v1/enrolments/approve-all', asked, approveAllAnswer);
    approved.push(...answer.approved);
  }
  io.out(`${approved.length} bindings by first use are approvals now\n`);
  for (const name of approved) io.out(`${printable(name)}\n`);
  const left = names.filter((name) => !approved.includes(name));
  if (left.length > 0) io.err(`changed meanwhile, and left as they are: ${listed(left, left.length)}\n`);
}

/** The bindings that a person compares. Attack: who came first took the name of a machine, whose own TPM is refused since. */
function boundTable(bindings: readonly (NodeView & { readonly ek: string })[]): string {
  if (bindings.length === 0) return '';
  const rows = bindings.map((view) => {
    const { name, ek, tpmClass, tpm, address, claims } = view;
    const others = new Set(claims.map((claim) => claim.ek)).difference(new Set([ek, null])).size;
    const note = others === 0 ? '-' : `${counted(others, 'other TPM')} refused under this name`;
    return [name, ek, `${tpmClass}${tpm === null ? '' : `, ${tpm}`}`, view.state, address ?? '-', note];
  });
  return table(['NODE', 'EK', 'TPM', 'STATE', 'ADDRESS', 'NOTE'], rows);
}

/** Where name or key are another enrolment's, the commands that free them, finished. */
async function withRevocation(client: Client, node: string, ek: string, error: unknown): Promise<unknown> {
  if (!(error instanceof Refusal) || error.code !== 'ek_already_bound') return error;
  const nodes = await readNodes(client, withGone);
  const holder = nodes.find((one) => one.ek === ek) ?? nodes.find(({ name }) => name === node);
  if (holder === undefined || (holder.name === node && holder.ek === ek)) return error;
  const hint = [
    `Where the board or its TPM was exchanged, free ${holder.name} first, and approve again:`,
    `  assay enrol revoke ${holder.name} --reason 'the board was exchanged'`,
    `  assay enrol approve ${node} --ek ${ek}`,
  ].join('\n');
  return new CliError(error.message, hint, error.exitCode, error);
}

/** The error on `delete node`, which is called revoke here. */
export function calledRevoke(words: readonly string[]): CliError {
  const [first, second] = words;
  const node = first === 'node' || first === 'nodes' ? second : first;
  return new CliError(
    'a node is deleted by revoking its enrolment',
    `That frees its name; its TPM needs a new approval:\n  assay enrol revoke ${node ?? 'NODE'} --reason WHY`,
    exit.usage,
  );
}

/** `enrol revoke NODE`: the name is free, and its TPM waits for a new approval. */
export async function revokeEnrolment(
  { io, server }: CliContext,
  node: string,
  {
    reason,
    eraseEvidence = false,
    ...consent
  }: Consent & { readonly reason: string; readonly eraseEvidence?: boolean },
): Promise<void> {
  const ask = questions(io, consent);
  const client = await server();
  const whom = async () =>
    `${await whomOf(client, node, eraseEvidence)}${eraseEvidence ? erasureText(printable(node)) : ''}`;
  if (consent.dryRun === true) return io.out(await whom());
  io.err(await orWhyNot(whom));
  const erased = eraseEvidence ? ', and erase all evidence of it' : '';
  await ask(`Revoke the enrolment of ${printable(node)}${erased}?`);
  const path = `/v1/enrolments/${encodeURIComponent(node)}/revoke`;
  const request = { reason, ...(eraseEvidence && { eraseEvidence }) };
  const gone = await client.post(path, request, revokeAnswer);
  io.out(`the name ${printable(gone.node)} is free; the TPM ${printable(gone.ek)} needs a new approval\n`);
  if (gone.freedBytes !== undefined)
    io.out(
      `its evidence is erased: ${mebibytes(gone.freedBytes)} of its share of the disk are free; the audit log names each digest\n`,
    );
}

/** Its evidence can be erased also where the node was revoked before. */
async function whomOf(client: Client, node: string, eraseEvidence: boolean): Promise<string> {
  try {
    const view = await readNode(client, node);
    const volumes = await volumesOf(client, view.name);
    return `${revocationText(view)}${volumesText(volumes.filter(({ ek }) => ek === view.ek))}`;
  } catch (error) {
    if (eraseEvidence && error instanceof Refusal && error.status === 404)
      return `${printable(node)} is no node at present\n`;
    throw error;
  }
}

/** Volumes of each TPM that had this name. A server before 0.4.0 has none. */
async function volumesOf(client: Client, node: string): Promise<readonly VolumeView[]> {
  try {
    return (await client.get(`/v1/volumes?${new URLSearchParams({ node })}`, listOf(volumeView))).items;
  } catch (error) {
    if (error instanceof Refusal && error.status === 404) return [];
    throw error;
  }
}

function volumesText(volumes: readonly VolumeView[]): string {
  if (volumes.length === 0) return '';
  const shown = volumes.map(({ name, path }) => `${printable(name)} (${printable(path)})`);
  const kept = volumes.map(({ node, name }) => {
    const [of, file] = [`${node} ${name}`, `${node}-${name}`].map(printable);
    return `  assay disk escrow ${of} -f ${file}.age\n`;
  });
  const [whose, what] = volumes.length === 1 ? ['its volume', 'that'] : ['its volumes', 'each of these'];
  return [
    `it gets no key any more for ${whose} ${listed(shown, shown.length)}: from its next boot on only the recovery passphrase opens ${what}, which the server keeps. Read it here:\n`,
    ...kept,
    ...boundText(volumes),
  ].join('');
}

function boundText(volumes: readonly VolumeView[]): readonly string[] {
  if (volumes.length === 0) return [];
  const [stays, it] = volumes.length === 1 ? ['its volume stays', 'it'] : ['its volumes stay', 'them'];
  return [
    `${stays} bound to the earlier TPM. Once another one is enrolled, bind ${it} to that:\n`,
    ...volumes.map(({ node, name }) => `  assay disk rotate ${printable(node)} ${printable(name)}\n`),
  ];
}

function erasureText(name: string): string {
  return `all evidence stored under the name ${name} is erased for good: no verdict from it can be derived again. Its history and the audit log stay\n`;
}

function mebibytes(bytes: number): string {
  return `${(bytes / 1024 / 1024).toFixed(1)} MiB`;
}

function revocationText(view: NodeView): string {
  const name = printable(view.name);
  const { connectedAt, address } = view;
  const link =
    connectedAt === null ? '' : ` and connected${address === null ? '' : ` from ${printable(address)}`}`;
  return `${name} is ${stateText(view)}${link}\nonce revoked, it is no longer a node: its connection ends, its state is no longer shown, another TPM can take its name, and its own TPM needs a new approval\n`;
}

function row(item: CandidateView, now: number, absolute: boolean): string[] {
  const { node, ek, certificateSubject, address, firstSeen, lastSeen, attempts } = item;
  const note = item.approved ? 'approved' : item.nameEnrolled ? 'the name is enrolled by another' : '-';
  const times = [firstSeen, lastSeen].map((at) => tableTime(at, now, absolute));
  return [node, ek, certificateSubject || '-', address, ...times, String(attempts), note];
}
