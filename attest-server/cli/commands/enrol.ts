import type { Command } from 'commander';
import {
  approveAllAnswer,
  approveAnswer,
  type CandidateView,
  candidateView,
  listOf,
  revokeAnswer,
} from '../../protocol/api.ts';
import { CliError, exit } from '../exit.ts';
import { ago } from '../moment.ts';
import { formatOf, print } from '../output.ts';
import { printable } from '../printable.ts';
import type { Session } from '../session.ts';
import { table } from '../table.ts';

/** `enrol list|approve|revoke`: which TPM is which node, by a person's word. */
export function addEnrol(program: Command, { io, client }: Session): void {
  const enrol = program.command('enrol').description('which TPM is which node, by your word');
  enrol
    .command('list')
    .description('TPMs that claimed a name and for which nobody has vouched; all of it is their own claim')
    .option('-o, --output <format>', 'table, json or yaml', 'table')
    .action(async (options: { output: string }, command: Command) => {
      const format = formatOf(options.output, ['table', 'json', 'yaml']);
      const page = await client(command.optsWithGlobals()).get('/v1/enrolments', listOf(candidateView));
      print(io, format, page, () =>
        table(
          ['NODE', 'EK', 'CERTIFICATE', 'ADDRESS', 'FIRST', 'LAST', 'TRIES', 'NOTE'],
          page.items.map((item) => row(item, io.now())),
        ),
      );
    });
  enrol
    .command('approve [node]')
    .description(
      'let a TPM enrol under this name when it next comes; compare its digest on the machine first',
    )
    .option('--ek <digest>', 'SHA-256 of its endorsement key: 64 hex digits, or 16 or more of a waiting one')
    .option('--all', 'instead: make approvals of all bindings by first use')
    .action(async (node: string | undefined, options: ApproveOptions, command: Command) => {
      const isAll = options.all === true;
      if (isAll ? node !== undefined || options.ek !== undefined : node === undefined || !options.ek)
        throw new CliError(
          'enrol approve takes NODE --ek DIGEST, or --all',
          'The digests of TPMs that wait are in `assay enrol list`.',
          exit.usage,
        );
      const server = client(command.optsWithGlobals());
      if (isAll) {
        const { approved } = await server.post('/v1/enrolments/approve-all', {}, approveAllAnswer);
        io.out(`${approved.length} bindings by first use are approvals now\n`);
        for (const name of approved) io.out(`${printable(name)}\n`);
        return;
      }
      const path = `/v1/enrolments/${encodeURIComponent(node ?? '')}/approve`;
      const made = await server.post(path, { ek: options.ek?.toLowerCase() }, approveAnswer);
      const when = made.waiting ? 'when it comes again' : 'when it first comes (it has not come yet)';
      io.out(`${printable(made.ek)} enrols as ${printable(made.node)} ${when}\n`);
    });
  enrol
    .command('revoke <node>')
    .description('free a name: its TPM is no node until somebody vouches for it again')
    .requiredOption('--reason <text>', 'why, for the audit log')
    .action(async (node: string, options: { reason: string }, command: Command) => {
      const path = `/v1/enrolments/${encodeURIComponent(node)}/revoke`;
      const server = client(command.optsWithGlobals());
      const gone = await server.post(path, { reason: options.reason }, revokeAnswer);
      io.out(`${printable(gone.node)} is free; ${printable(gone.ek)} waits for a new approval\n`);
    });
}

interface ApproveOptions {
  readonly ek?: string;
  readonly all?: boolean;
}

function row(item: CandidateView, now: number): string[] {
  const { node, ek, certificateSubject, address, firstSeen, lastSeen, attempts } = item;
  const note = item.approved ? 'approved' : item.nameEnrolled ? 'the name is enrolled by another' : '-';
  return [
    ...[node, ek, certificateSubject || '-', address],
    ...[ago(firstSeen, now), ago(lastSeen, now), String(attempts), note],
  ];
}
