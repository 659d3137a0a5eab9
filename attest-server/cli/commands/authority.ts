import type { Command } from 'commander';
import { type AuthorityView, authorityView } from '../../protocol/authority-api.ts';
import { utc } from '../moment.ts';
import { type Format, formatOf, print } from '../output.ts';
import { printable } from '../printable.ts';
import type { Session } from '../session.ts';
import { table } from '../table.ts';
import { into } from '../write-file.ts';

const steps = `
One authority follows another in three steps:
  1. assay authority rotate   makes the next one; agents are told of it under the one in force
  2. assay authority finish   once status shows that every node was told: the server uses the new one
  3. assay authority retire   the old one is forgotten, by agents too
Other holders of the authority's file (callers of the API) get it from assay authority export.
`;

/** `authority status|rotate|finish|retire|export`: which authority vouches for the server, and which follows it. */
export function addAuthority(program: Command, session: Session): void {
  const { io, client } = session;
  const authority = program
    .command('authority')
    .description("the authority of the server's own certificate, and its replacement")
    .addHelpText('after', steps);
  const add = (name: string, description: string) =>
    authority
      .command(name)
      .description(description)
      .option('-o, --output <format>', 'table, json or yaml', 'table');
  const show = (format: Format, view: AuthorityView) => print(io, format, view, () => people(view));

  add('status', 'the authorities, and which nodes do not trust the newer one yet').action(
    async (options: Options, command: Command) => {
      const format = formatOf(options.output, ['table', 'json', 'yaml']);
      show(format, await client(command.optsWithGlobals()).get('/v1/authority', authorityView));
    },
  );
  const change = async (step: string, body: object, options: Options, command: Command) => {
    const format = formatOf(options.output, ['table', 'json', 'yaml']);
    const server = client(command.optsWithGlobals());
    show(format, await server.post(`/v1/authority/${step}`, body, authorityView));
  };
  add('rotate', 'step 1: make the next authority, and announce it').action(
    (options: Options, command: Command) => change('rotate', {}, options, command),
  );
  add('finish', 'step 2: use it; refused while nodes were not told')
    .option(
      '--force',
      'also while nodes were not told: these refuse the server until somebody gives them its file',
    )
    .action((options: Options, command: Command) =>
      change('finish', { force: options.force === true }, options, command),
    );
  add('retire', 'step 3: announce the old one no more').action((options: Options, command: Command) =>
    change('retire', {}, options, command),
  );
  authority
    .command('export <file>')
    .description('write the authorities as PEM, for caFile of agents and --ca-file; - is standard output')
    .action(async (file: string, _options: object, command: Command) => {
      const view = await client(command.optsWithGlobals()).get('/v1/authority', authorityView);
      const pem = view.authorities.map(({ certificate }) => certificate).join('');
      into(file === '-' ? undefined : file, io).out(pem);
    });
}

interface Options {
  readonly output: string;
  readonly force?: boolean;
}

function people({ stage, authorities, nodes, untold, waitingFor }: AuthorityView): string {
  const rows = authorities.map(({ digest, state, expiresAt }) => [digest, state, utc(expiresAt)]);
  const listed = table(['AUTHORITY', 'STATE', 'UNTIL'], rows);
  if (stage === 'settled') return listed;
  const told = `${nodes - untold} of ${nodes} nodes trust the newer one\n`;
  const more = untold > waitingFor.length ? `  and ${untold - waitingFor.length} more\n` : '';
  const missing = waitingFor.map((name) => `  not yet: ${printable(name)}\n`).join('');
  const next =
    stage === 'in_force'
      ? 'join tokens of before are void; next: assay authority retire\n'
      : untold === 0
        ? 'next: assay authority finish\n'
        : 'agents are told with their next verdict; next: assay authority status\n';
  return `${listed}${told}${missing}${more}${next}`;
}
