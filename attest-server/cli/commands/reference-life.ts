import { resolve } from 'node:path';
import type { Command } from 'commander';
import { type ReferenceView, referenceView } from '../../protocol/api.ts';
import { reference } from '../../protocol/reference.ts';
import { CliError, exit } from '../exit.ts';
import { readReference } from '../offline/reference-file.ts';
import { formatOf, print } from '../output.ts';
import { printable } from '../printable.ts';
import type { Session } from '../session.ts';
import { into } from '../write-file.ts';

const actions = {
  approve: 'put a staged reference in force: boots like it are trusted',
  retire: 'take a reference out of force: boots like it are no longer known',
  revoke: 'mark boots like this reference as bad, for good',
} as const;

/** `reference approve|retire|revoke|export|import`: a reference over its life. */
export function addReferenceLife(references: Command, { io, client }: Session): void {
  for (const [action, description] of Object.entries(actions))
    references
      .command(`${action} <name>`)
      .description(description)
      .requiredOption('--reason <text>', 'why; it goes into the audit log')
      .option('-o, --output <format>', 'table, json or yaml', 'table')
      .action(async (name: string, options: { reason: string; output: string }, command: Command) => {
        const format = formatOf(options.output, ['table', 'json', 'yaml']);
        const server = client(command.optsWithGlobals());
        const path = `/v1/references/${encodeURIComponent(name)}/${action}`;
        const changed = await server.post(path, { reason: options.reason }, referenceView);
        print(io, format, changed, () => sentence(changed));
      });
  references
    .command('export <name>')
    .description('a reference with its values, as a file for Git or for import at another server')
    .option('-f, --file <file>', 'write it there instead of standard output')
    .option('-o, --output <format>', 'json or yaml', 'json')
    .action(async (name: string, options: { output: string; file?: string }, command: Command) => {
      const format = formatOf(options.output, ['json', 'yaml']);
      const server = client(command.optsWithGlobals());
      const found = await server.get(`/v1/references/${encodeURIComponent(name)}`, reference);
      print(into(options.file, io), format, found, () => '');
    });
  references
    .command('import <file>')
    .description('give the server a reference that was computed, exported or kept in Git; you vouch for it')
    .option('--staged', 'keep it for review: it makes nobody trusted yet')
    .option('-o, --output <format>', 'table, json or yaml', 'table')
    .action(async (file: string, options: { staged?: boolean; output: string }, command: Command) => {
      const format = formatOf(options.output, ['table', 'json', 'yaml']);
      const read = readReference(resolve(io.cwd, file));
      if (read.state !== 'active' && read.state !== 'staged')
        throw new CliError(
          `reference ${read.name} is ${read.state}`,
          'Import one that is staged or active; retire and revoke are done on the server.',
          exit.error,
        );
      const sent = options.staged ? { ...read, state: 'staged' as const } : read;
      const server = client(command.optsWithGlobals());
      const added = await server.post('/v1/references/import', sent, referenceView);
      print(io, format, added, () => sentence(added));
    });
}

function sentence({ name, group, state }: ReferenceView): string {
  return `reference ${printable(name)} of group ${printable(group)} is ${state}\n`;
}
