import type { Client } from './client.ts';
import type { ConnectionOptions } from './connection.ts';
import type { CliIo } from './io.ts';

/** What every command is made with. */
export interface Session {
  readonly io: CliIo;
  /** Finds the server when a command first needs it: offline commands never do. */
  readonly client: (flags: ConnectionOptions) => Client;
  /** Sets the exit code of the command that runs. */
  readonly exitWith: (code: number) => void;
}
