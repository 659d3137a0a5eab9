import { backupAnswer } from '../../api/audit-pages.ts';
import { printable } from '../../wire/printable.ts';
import type { CliContext } from '../context.ts';

/** `backup`: the copy stays on the server, in its state folder; docs/backup.md says what else to keep. */
export async function backUp({ io, server }: CliContext): Promise<void> {
  const { path } = await (await server()).post('/v1/backups', {}, backupAnswer);
  io.out(`${printable(path)}\n`);
}
