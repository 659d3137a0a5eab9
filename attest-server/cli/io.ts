/** What a command may touch of its surroundings, so that a test can stand in for a terminal. */
export interface CliIo {
  readonly out: (text: string) => void;
  readonly err: (text: string) => void;
  readonly env: Readonly<Record<string, string | undefined>>;
  readonly cwd: string;
  /** Standard output is a terminal, and nobody asked for no colour. */
  readonly colour: boolean;
  readonly now: () => number;
}
