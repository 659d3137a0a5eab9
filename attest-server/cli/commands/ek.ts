import { pinsAnswer } from '../../api/api.ts';
import { parsePins } from '../../formats/pin-file.ts';
import { printable } from '../../wire/printable.ts';
import type { CliContext } from '../context.ts';
import { CliError } from '../exit.ts';
import { readInput } from '../read-file.ts';

/** Faults of one file that are shown: of a wrong file every line is one. */
const mostFaults = 20;

/** `ek import FILE`: every faulty line is named, and then nothing is imported. */
export async function importPins({ io, server }: CliContext, file: string): Promise<void> {
  const { pins, faults } = parsePins((await readInput(io, file)).toString('utf8'));
  if (faults.length > 0) {
    for (const { line, text } of faults.slice(0, mostFaults))
      io.err(`${printable(file)}:${line}: ${printable(text)}\n`);
    const more = faults.length - mostFaults;
    if (more > 0) io.err(`${printable(file)}: and ${more} more\n`);
    throw new CliError(
      `nothing was imported: ${faults.length} faulty ${faults.length === 1 ? 'line' : 'lines'}`,
      pins.length === 0
        ? 'Is that the right file? Each line of it is node,digest: the name of a node, and the SHA-256 of its endorsement key in 64 hex digits.'
        : 'Correct the file, and import it again.',
    );
  }
  const { imported } = await (await server()).post('/v1/pins', { pins }, pinsAnswer);
  io.out(`${imported} endorsement ${imported === 1 ? 'key' : 'keys'} imported\n`);
}
