import type { Command } from 'commander';
import { captureAnswer, listOf, type ReferenceView, referenceView } from '../../protocol/api.ts';
import { ago } from '../moment.ts';
import { formatOf, print } from '../output.ts';
import { printable } from '../printable.ts';
import type { Session } from '../session.ts';
import { table } from '../table.ts';

/** `reference list|capture`; gives the command, so that what works offline can join it. */
export function addReference(program: Command, { io, client }: Session): Command {
  const references = program
    .command('reference')
    .description('reference values: what nodes should have booted');
  references
    .command('list')
    .description('references that the server holds')
    .option('-o, --output <format>', 'table, json, yaml or name', 'table')
    .action(async (options: { output: string }, command: Command) => {
      const format = formatOf(options.output, ['table', 'json', 'yaml', 'name']);
      const server = client(command.optsWithGlobals());
      const page = await server.get('/v1/references', listOf(referenceView));
      print(io, format, page, () =>
        format === 'name'
          ? page.items.map(({ name }) => `${printable(name)}\n`).join('')
          : table(
              ['NAME', 'GROUP', 'STATE', 'FROM', 'BY', 'AGE'],
              page.items.map((item) => row(item, io.now())),
            ),
      );
    });
  references
    .command('capture <node...>')
    .description('make a reference of what nodes last proved; you vouch for them')
    .requiredOption('--name <name>', 'name of the new reference')
    .option('--staged', 'keep it for review: it makes nobody trusted yet')
    .option('-o, --output <format>', 'table, json or yaml', 'table')
    .action(async (nodes: readonly string[], options: CaptureOptions, command: Command) => {
      const format = formatOf(options.output, ['table', 'json', 'yaml']);
      const server = client(command.optsWithGlobals());
      const body = { nodes, name: options.name, staged: options.staged === true };
      const made = await server.post('/v1/references', body, captureAnswer);
      print(io, format, made, () => [made, ...made.others].map(captured).join(''));
    });
  return references;
}

interface CaptureOptions {
  readonly name: string;
  readonly staged?: boolean;
  readonly output: string;
}

function captured({ name, group, state, captured: from }: ReferenceView): string {
  return `reference ${printable(name)} captured from ${printable(from?.node ?? '-')} for group ${printable(group)}: ${state}\n`;
}

function row({ name, group, state, captured }: ReferenceView, now: number): string[] {
  return [name, group, state, captured?.node ?? '-', captured?.by ?? '-', ago(captured?.at ?? null, now)];
}
