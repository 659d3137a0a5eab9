import { resolve } from 'node:path';
import type { Command } from 'commander';
import { pinsAnswer } from '../../protocol/api.ts';
import { CliError } from '../exit.ts';
import { parsePins } from '../pin-file.ts';
import { printable } from '../printable.ts';
import { readFile } from '../read-file.ts';
import type { Session } from '../session.ts';

/** `ek import FILE`: every faulty line is named, and then nothing is imported. */
export function addEk(program: Command, { io, client }: Session): Command {
  const ek = program.command('ek').description('endorsement keys of nodes');
  ek.command('import <file>')
    .description('bind nodes to endorsement keys: CSV lines node,SHA-256 of TPMT_PUBLIC in hex')
    .action(async (file: string, _options: object, command: Command) => {
      const { pins, faults } = parsePins(readFile(resolve(io.cwd, file)).toString('utf8'));
      if (faults.length > 0) {
        for (const { line, text } of faults) io.err(`${printable(file)}:${line}: ${printable(text)}\n`);
        throw new CliError(
          `nothing was imported: ${faults.length} faulty ${faults.length === 1 ? 'line' : 'lines'}`,
          'Correct the file, and import it again.',
        );
      }
      const server = client(command.optsWithGlobals());
      const { imported } = await server.post('/v1/pins', { pins }, pinsAnswer);
      io.out(`${imported} endorsement ${imported === 1 ? 'key' : 'keys'} imported\n`);
    });
  return ek;
}
