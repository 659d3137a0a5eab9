import type { Client } from './client.ts';
import type { CliIo } from './io.ts';

/** The context of every command. */
export interface CliContext {
  /** The version of this program. */
  readonly version: string;
  readonly io: CliIo;
  /** Finds the server and reads the token when a command first needs them: offline commands never do. */
  readonly server: () => Promise<Client>;
  /** Sets the exit code of the command that runs. */
  readonly exitWith: (code: number) => void;
}
