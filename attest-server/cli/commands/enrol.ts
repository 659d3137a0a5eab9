import {
  approveAllAnswer,
  approveAnswer,
  type CandidateView,
  candidateView,
  listOf,
  revokeAnswer,
} from '../../protocol/api.ts';
import { printable } from '../../protocol/printable.ts';
import type { CliContext } from '../context.ts';
import { CliError, exit } from '../exit.ts';
import { tableTime } from '../moment.ts';
import { type Format, print } from '../output.ts';
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

export interface ApproveOptions {
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
      'See which TPMs wait, with their digests:\n  assay enrol list',
      exit.usage,
    );
  if (!isAll && !/^[0-9a-f]{64}$/i.test(options.ek ?? ''))
    throw new CliError(
      '--ek is not a whole SHA-256 digest (64 hex digits)',
      'Compare all of it on the machine. See which TPMs wait, with their whole digests:\n  assay enrol list',
      exit.usage,
    );
  const client = await server();
  if (isAll) {
    const { approved } = await client.post('/v1/enrolments/approve-all', {}, approveAllAnswer);
    io.out(`${approved.length} bindings by first use are approvals now\n`);
    for (const name of approved) io.out(`${printable(name)}\n`);
    return;
  }
  const path = `/v1/enrolments/${encodeURIComponent(node ?? '')}/approve`;
  const made = await client.post(path, { ek: options.ek?.toLowerCase() }, approveAnswer);
  const when = made.waiting ? 'when it comes again' : 'when it first comes (it has not come yet)';
  io.out(`${printable(made.ek)} enrols as ${printable(made.node)} ${when}\n`);
}

/** `enrol revoke NODE`: the name is free, and its TPM waits for a new approval. */
export async function revokeEnrolment(
  { io, server }: CliContext,
  node: string,
  reason: string,
): Promise<void> {
  const path = `/v1/enrolments/${encodeURIComponent(node)}/revoke`;
  const gone = await (await server()).post(path, { reason }, revokeAnswer);
  io.out(`${printable(gone.node)} is free; ${printable(gone.ek)} waits for a new approval\n`);
}

function row(item: CandidateView, now: number, absolute: boolean): string[] {
  const { node, ek, certificateSubject, address, firstSeen, lastSeen, attempts } = item;
  const note = item.approved ? 'approved' : item.nameEnrolled ? 'the name is enrolled by another' : '-';
  const times = [firstSeen, lastSeen].map((at) => tableTime(at, now, absolute));
  return [node, ek, certificateSubject || '-', address, ...times, String(attempts), note];
}
