import { printable } from '../../protocol/printable.ts';
import { versionView } from '../../protocol/server-api.ts';
import { Refusal } from '../client.ts';
import type { CliContext } from '../context.ts';
import { type Format, print } from '../output.ts';

export interface VersionOptions {
  readonly output: Format;
  readonly client?: boolean;
}

/** `version`: of this program and of the server; where that one cannot be asked, the first is said all the same. */
export async function showVersions(
  { io, version, server }: CliContext,
  { output: format, client: onlyClient = false }: VersionOptions,
): Promise<void> {
  const client = { version, node: process.versions.node };
  const ours = `Client: ${version} (Node ${client.node})\n`;
  let theirs: { version: string | null; url: string } | null = null;
  let fault: unknown = null;
  if (!onlyClient)
    try {
      const asked = await server();
      theirs = { version: await versionOf(asked), url: asked.server.origin };
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

/** Null: it is of before it said its version. */
async function versionOf(client: Awaited<ReturnType<CliContext['server']>>): Promise<string | null> {
  try {
    return (await client.get('/v1/version', versionView)).version;
  } catch (error) {
    if (error instanceof Refusal && error.status === 404) return null;
    throw error;
  }
}

function serverLine({ version, url }: { readonly version: string | null; readonly url: string }): string {
  return `Server: ${printable(version ?? 'older than 0.2.0')} (${printable(url)})\n`;
}
