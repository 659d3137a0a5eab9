import { versionView } from '../../api/server-api.ts';
import { printable } from '../../wire/printable.ts';
import type { CliContext } from '../context.ts';
import { type Format, print } from '../output.ts';

export interface VersionOptions {
  readonly output: Format;
  readonly client?: boolean;
}

/** `version`: of this program and of the server; if the server cannot be reached, still that of this program. */
export async function showVersions(
  { io, version, server }: CliContext,
  { output: format, client: onlyClient = false }: VersionOptions,
): Promise<void> {
  const client = { version, node: process.versions.node };
  const ours = `Client: ${version} (Node ${client.node})\n`;
  let theirs: { version: string; url: string } | null = null;
  let fault: unknown = null;
  if (!onlyClient)
    try {
      const asked = await server();
      theirs = { version: (await asked.get('/v1/version', versionView)).version, url: asked.server.origin };
    } catch (error) {
      fault = error;
    }
  await print(
    io,
    format,
    { client, server: theirs },
    () => ours + (theirs === null ? '' : serverLine(theirs)),
  );
  if (fault !== null) throw fault;
  if (theirs !== null && theirs.version !== version)
    io.err(
      'assay: this command and the server have different versions; use the command of the server’s version\n',
    );
}

function serverLine({ version, url }: { readonly version: string; readonly url: string }): string {
  return `Server: ${printable(version)} (${printable(url)})\n`;
}
