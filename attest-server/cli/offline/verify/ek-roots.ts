import { resolve } from 'node:path';
import { type RootFile, readRootsFolder } from '../../../roots/read-roots.ts';
import type { CliContext } from '../../context.ts';
import { CliError, exit } from '../../exit.ts';
import { type Format, print } from '../../output.ts';
import { withShortDigests } from '../../readable.ts';
import { table } from '../../table.ts';

export interface EkRootsOptions {
  readonly from: string;
  readonly intermediates?: boolean;
  readonly output: Format;
}

/** `ek roots`: whom the server trusts to endorse TPMs. Needs no server. */
export async function listRoots(
  { io }: CliContext,
  { from, intermediates = false, output: format }: EkRootsOptions,
): Promise<void> {
  const folder = read(from === 'builtin' ? 'builtin' : resolve(io.cwd, from));
  const items = (intermediates ? folder.intermediates : folder.roots).map(view);
  await print(io, format, { items, next: null }, () =>
    table(
      ['SUBJECT', 'UNTIL', 'SHA-256', 'FILE'],
      items.map(({ subject, notAfter, sha256, file }) => {
        const digest = format === 'wide' ? sha256 : withShortDigests(sha256);
        return [subject, notAfter.slice(0, 10), digest, file];
      }),
    ),
  );
}

function view({ file, certificate }: RootFile) {
  const { subject, issuer, digest, notBefore, notAfter } = certificate;
  return {
    subject,
    issuer,
    sha256: digest,
    file,
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
