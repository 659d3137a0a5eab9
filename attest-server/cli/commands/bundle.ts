import { resolve } from 'node:path';
import type { Command } from 'commander';
import { parseBundle } from '../../protocol/bundle.ts';
import { Rejection } from '../../protocol/rejection.ts';
import { CliError } from '../exit.ts';
import { printableJson } from '../printable.ts';
import type { Session } from '../session.ts';
import { writeFile } from '../write-file.ts';

/** `bundle N`: the evidence behind the latest verdict, for `assay verify`. */
export function addBundle(program: Command, { io, client }: Session): void {
  program
    .command('bundle <node>')
    .description('export the evidence behind the latest verdict')
    .option('-f, --file <file>', 'write it there instead of standard output')
    .action(async (name: string, options: { file?: string }, command: Command) => {
      const server = client(command.optsWithGlobals());
      const text = await server.text(`/v1/nodes/${encodeURIComponent(name)}/bundle`);
      const bundle = `${printableJson(checked(text))}\n`;
      if (options.file === undefined) io.out(bundle);
      else writeFile(resolve(io.cwd, options.file), bundle);
    });
}

function checked(text: string) {
  try {
    return parseBundle(text);
  } catch (cause) {
    if (!(cause instanceof Rejection)) throw cause;
    throw new CliError(`the server sent no bundle: ${cause.message}`, 'Is its version the same?', 1, cause);
  }
}
