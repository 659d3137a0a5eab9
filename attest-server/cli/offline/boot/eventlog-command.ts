import { resolve } from 'node:path';
import type { Command } from 'commander';
import { Rejection } from '../../../protocol/rejection.ts';
import { parseEventLog } from '../../../verify/tpm/event-log.ts';
import { parseUserSpaceLog } from '../../../verify/tpm/user-space-log.ts';
import { exit } from '../../exit.ts';
import { formatOf } from '../../output.ts';
import { printable } from '../../printable.ts';
import { readFile } from '../../read-file.ts';
import type { Session } from '../../session.ts';
import { eventLogError, eventLogFault, renderEventLog } from './eventlog.ts';

/** `eventlog FILE`: parse and replay a TCG log; exit 1 for one that cannot be parsed. */
export function addEventLog(program: Command, { io, exitWith }: Session): void {
  program
    .command('eventlog <file>')
    .description('parse and replay a TCG event log, offline')
    .option('--userspace <file>', 'also what systemd measured later: its tpm2-measure.log of the same boot')
    .option('-o, --output <format>', 'table or json', 'table')
    .action((file: string, options: { output: string; userspace?: string }) => {
      const format = formatOf(options.output, ['table', 'json']) === 'json' ? 'json' : 'table';
      const bytes = readFile(resolve(io.cwd, file));
      const later = options.userspace === undefined ? null : readFile(resolve(io.cwd, options.userspace));
      let read = file;
      try {
        const log = parseEventLog(bytes);
        read = options.userspace ?? file;
        const text = renderEventLog(log, format, later && parseUserSpaceLog(later));
        io.out(text.split('\n').map(printable).join('\n'));
      } catch (error) {
        if (!(error instanceof Rejection)) throw error;
        if (format === 'json') io.out(`${JSON.stringify(eventLogError(error))}\n`);
        io.err(`assay: ${printable(eventLogFault(read, error).trimEnd())}\n  ${whatToName(read === file)}\n`);
        exitWith(exit.error);
      }
    });
}

function whatToName(firmware: boolean): string {
  return firmware
    ? 'Name a firmware log, such as a copy of /sys/kernel/security/tpm0/binary_bios_measurements.'
    : 'Name a log of systemd, such as a copy of /run/log/systemd/tpm2-measure.log.';
}
