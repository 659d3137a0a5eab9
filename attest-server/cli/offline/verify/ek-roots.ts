import { resolve } from 'node:path';
import type { Command } from 'commander';
import { type RootFile, readRootsFolder } from '../../../roots/read-roots.ts';
import { CliError, exit } from '../../exit.ts';
import { formatOf, print } from '../../output.ts';
import type { Session } from '../../session.ts';
import { table } from '../../table.ts';

interface EkRootsOptions {
  readonly from: string;
  readonly intermediates?: boolean;
  readonly output: string;
}

/** `ek roots`: whom the server trusts to endorse TPMs. Needs no server. */
export function addEkRoots(ek: Command, { io }: Session): void {
  ek.command('roots')
    .description('authorities that endorse TPMs, as they come with assay')
    .option('--from <dir>', 'another folder of *.pem', 'builtin')
    .option('--intermediates', 'the authorities below the roots instead')
    .option('-o, --output <format>', 'table, json or yaml', 'table')
    .action((options: EkRootsOptions) => {
      const format = formatOf(options.output, ['table', 'json', 'yaml']);
      const folder = read(options.from === 'builtin' ? 'builtin' : resolve(io.cwd, options.from));
      const items = (options.intermediates ? folder.intermediates : folder.roots).map(view);
      print(io, format, { items, next: null }, () =>
        table(
          ['SUBJECT', 'UNTIL', 'SHA-256', 'FILE'],
          items.map(({ subject, notAfter, sha256, file }) => [subject, notAfter.slice(0, 10), sha256, file]),
        ),
      );
    });
}

function view({ file, certificate }: RootFile) {
  const { subject, issuer, digest, notBefore, notAfter } = certificate;
  return {
    ...{ subject, issuer, sha256: digest, file },
    notBefore: new Date(notBefore).toISOString(),
    notAfter: new Date(notAfter).toISOString(),
  };
}

function read(name: string): ReturnType<typeof readRootsFolder> {
  try {
    return readRootsFolder(name);
  } catch (cause) {
    const text = cause instanceof Error ? cause.message : String(cause);
    throw new CliError(text, 'Name another folder with --from.', exit.error, cause);
  }
}
