import { closeSync, openSync, writeSync } from 'node:fs';
import { resolve } from 'node:path';
import type { Command } from 'commander';
import { rotateAnswer } from '../../protocol/audit-pages.ts';
import { readLiveBooks } from '../live-audit-log.ts';
import type { Session } from '../session.ts';
import { unwritable } from '../write-file.ts';

/** `audit export FILE|-` and `audit rotate-key`; gives the command that `audit verify` joins. */
export function addAudit(program: Command, { io, client }: Session): Command {
  const audit = program
    .command('audit')
    .description('the audit log: who did what, and whether anybody changed it');
  audit
    .command('export <file>')
    .description('write entries, keys and checkpoints as JSON lines; - is standard output')
    .action(async (file: string, _options: object, command: Command) => {
      const lines = readLiveBooks(client(command.optsWithGlobals()));
      if (file === '-') {
        for await (const line of lines) io.out(`${JSON.stringify(line)}\n`);
        return;
      }
      const path = resolve(io.cwd, file);
      const handle = openForWriting(path);
      try {
        for await (const line of lines) writeSync(handle, `${JSON.stringify(line)}\n`);
      } finally {
        closeSync(handle);
      }
    });
  audit
    .command('rotate-key')
    .description('put a new audit key in the place of the old one, which signs it')
    .action(async (_options: object, command: Command) => {
      const server = client(command.optsWithGlobals());
      const { keyId } = await server.post('/v1/audit/keys', {}, rotateAnswer);
      io.out(
        `the audit log is signed by the key ${keyId} from now on; back up audit.key of the state folder\n`,
      );
    });
  return audit;
}

function openForWriting(path: string): number {
  try {
    return openSync(path, 'w', 0o600);
  } catch (cause) {
    throw unwritable(path, cause);
  }
}
