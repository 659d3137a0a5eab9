import { type Client, createClient } from './client.ts';
import type { CliIo } from './io.ts';
import { findServerAccess, type ServerFlags } from './server-access.ts';

/** The server that flags, environment or files name. @throws CliError naming what is missing or unreadable */
export function connect(flags: ServerFlags, io: CliIo): Promise<Client> {
  return createClient(findServerAccess(flags, io));
}
