import type { Command } from 'commander';
import { backupAnswer } from '../../protocol/audit-pages.ts';
import { printable } from '../printable.ts';
import type { Session } from '../session.ts';

/** `backup`: the copy stays on the server, in its state folder; docs/backup.md tells what else to keep. */
export function addBackup(program: Command, { io, client }: Session): void {
  program
    .command('backup')
    .description('copy the database, consistent while the server runs; prints where the copy is')
    .action(async (_options: object, command: Command) => {
      const server = client(command.optsWithGlobals());
      const { path } = await server.post('/v1/backups', {}, backupAnswer);
      io.out(`${printable(path)}\n`);
    });
}
