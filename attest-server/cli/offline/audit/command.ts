import { resolve } from 'node:path';
import type { Command } from 'commander';
import { exit } from '../../exit.ts';
import { readLiveBooks } from '../../live-audit-log.ts';
import { formatOf, print } from '../../output.ts';
import { printable } from '../../printable.ts';
import type { Session } from '../../session.ts';
import { readBooks, readWitness } from './log-in-file.ts';
import { type BooksResult, checkBooks } from './verify-log.ts';

interface Options {
  readonly checkpoint?: string;
  readonly output: string;
}

/** `audit verify [FILE]`: exits 10 and names the first entry that is wrong or missing. */
export function addAuditVerify(audit: Command, { io, client, exitWith }: Session): void {
  audit
    .command('verify [file]')
    .description("check an export, a database or a backup, offline; without a file, the server's audit log")
    .option('--checkpoint <file>', 'a witness from elsewhere, such as audit-checkpoint.json of an agent')
    .option('-o, --output <format>', 'table, json or yaml', 'table')
    .action(async (file: string | undefined, options: Options, command: Command) => {
      const format = formatOf(options.output, ['table', 'json', 'yaml']);
      const at = (path: string) => resolve(io.cwd, path);
      const witness = options.checkpoint === undefined ? null : readWitness(at(options.checkpoint));
      const lines =
        file === undefined ? readLiveBooks(client(command.optsWithGlobals())) : readBooks(at(file));
      const result = await checkBooks(lines, witness);
      print(io, format, result, () => page(result));
      exitWith(result.ok ? exit.ok : exit.untrusted);
    });
}

function page({ ok, origin, earlier, size, signed, witnessed, fault }: BooksResult): string {
  if (!ok) return `${printable(fault?.text ?? 'the audit log is not in order')}\n`;
  const rest = size === signed ? '' : `; entries ${signed + 1} to ${size} are not signed yet`;
  const witness = witnessed
    ? 'witnessed: a checkpoint from elsewhere fits'
    : 'unwitnessed: who holds the key of the server could have rewritten all of it (--checkpoint FILE)';
  const lost = earlier.map(
    (each) => `the key of ${each.origin} was lost: it signed the first ${each.signed} entries\n`,
  );
  return `${origin}: ${size} entries in order, ${signed} of them signed${rest}\n${lost.join('')}${witness}\n`;
}
