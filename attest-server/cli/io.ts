/** The surroundings that a command may touch, so that a test can stand in for a terminal. */
export interface CliIo {
  readonly out: (text: string) => void;
  readonly err: (text: string) => void;
  readonly env: Readonly<Record<string, string | undefined>>;
  readonly cwd: string;
  /** Standard output is a terminal, and nobody asked for no colour. */
  readonly colour: boolean;
  /** Width of the terminal; null if standard output is none. */
  readonly columns: number | null;
  readonly now: () => number;
  /** Asks a person, and gives the line that was typed, null if the input ended; null if there is no terminal. */
  readonly ask: ((question: string) => Promise<string | null>) | null;
  readonly stdin: AsyncIterable<Uint8Array>;
  /** Aborted by Ctrl-C, which from this call on does not end the program by itself. */
  readonly interrupted: () => AbortSignal;
}
