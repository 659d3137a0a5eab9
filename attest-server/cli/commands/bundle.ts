import type { Command } from 'commander';
import { parseBundle } from '../../protocol/bundle.ts';
import { Rejection } from '../../protocol/rejection.ts';
import { evidenceDigest } from '../evidence-digest.ts';
import { CliError } from '../exit.ts';
import { printableJson } from '../printable.ts';
import type { Session } from '../session.ts';
import { into } from '../write-file.ts';

/** `bundle N`: the evidence behind the latest verdict or an earlier one, for `assay verify`. */
export function addBundle(program: Command, { io, client }: Session): void {
  program
    .command('bundle <node>')
    .description('export the evidence behind a verdict')
    .option(
      '--evidence <digest>',
      'of an earlier verdict: as `assay history -o wide` shows it; default: the latest',
    )
    .option('-f, --file <file>', 'write it there instead of standard output')
    .action(async (name: string, options: { evidence?: string; file?: string }, command: Command) => {
      const server = client(command.optsWithGlobals());
      const which = options.evidence === undefined ? '' : `?evidence=${evidenceDigest(options.evidence)}`;
      const text = await server.text(`/v1/nodes/${encodeURIComponent(name)}/bundle${which}`);
      const bundle = `${printableJson(checked(text))}\n`;
      into(options.file, io).out(bundle);
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
