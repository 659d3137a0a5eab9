import { readFileSync } from 'node:fs';
import { createInterface, type Interface } from 'node:readline';
import { isatty } from 'node:tty';

/**
 * Gives each line that is typed, until it is disposed of. A terminal is read in the foreground alone: whoever reads it
 * in the background takes the shell's input, and is stopped for it.
 */
export function readTypedLines(typed: (line: string) => void): Disposable {
  let lines: Interface | null = null;
  const follow = () => {
    if (mayRead() === (lines !== null)) return;
    if (lines === null) lines = createInterface({ input: process.stdin, terminal: false }).on('line', typed);
    else lines = closed(lines);
  };
  follow();
  // `bg` says so by this signal, at once. Nobody says that `fg` follows.
  process.on('SIGCONT', follow);
  const looking = isatty(0) ? setInterval(follow, 500).unref() : undefined;
  return {
    [Symbol.dispose]() {
      clearInterval(looking);
      process.off('SIGCONT', follow);
      if (lines !== null) closed(lines);
    },
  };
}

/** Whether standard input is no terminal, or one whose foreground this is. */
export function mayRead(): boolean {
  return !isatty(0) || inForeground();
}

/** Whether this process has a terminal, and is what people see there. */
export function inForeground(): boolean {
  return isForeground(readFileSync('/proc/self/stat', 'utf8'));
}

/** By `/proc/PID/stat`: its process group is that of its terminal. */
export function isForeground(stat: string): boolean {
  // The name of the program, in brackets, may hold blanks and brackets.
  const [, , group, , , foreground] = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
  return group !== undefined && group === foreground;
}

function closed(lines: Interface): null {
  lines.close();
  process.stdin.pause();
  return null;
}
