import { isatty } from 'node:tty';

/**
 * Asks on the terminal and gives the line that is typed; null if the input ends. Null in place of it where standard
 * input or standard error is none: what a pipe says is no person's answer.
 */
export function terminal(): ((question: string) => Promise<string | null>) | null {
  return isatty(0) && isatty(2) ? ask : null;
}

async function ask(question: string): Promise<string | null> {
  const { createInterface } = await import('node:readline');
  process.stderr.write(question);
  // The terminal edits the line and turns Ctrl-C into a signal, as in a shell.
  const lines = createInterface({ input: process.stdin, terminal: false });
  return new Promise((resolve) => {
    lines.once('line', (line) => {
      resolve(line);
      lines.close();
    });
    lines.once('close', () => resolve(null));
  });
}
