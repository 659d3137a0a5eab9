import { writeSync } from 'node:fs';
import type { LogLevel } from '../attest-server/settings/settings.ts';

/** The log of a program of the agent: the members of a line, and its text. */
export type Logger = {
  readonly [level in LoggedLevel]: <Fields extends { readonly code: string }>(
    fields: Fields,
    text?: string,
  ) => void;
};

type LoggedLevel = (typeof loggedLevels)[number];
const loggedLevels = ['debug', 'info', 'warn', 'error'] as const;
/** Everything from its level on is logged. */
const levels: readonly LogLevel[] = ['trace', ...loggedLevels, 'fatal', 'silent'];

/**
 * The log of the server's library, line by line: JSON with levels as words and times in RFC 3339, on standard error before the
 * next statement. Each program would hold 1.3 MiB of that library for as long as the node runs.
 * @param base members of every line
 */
export function createLogger(level: LogLevel, base: Readonly<Record<string, string>>): Logger {
  const writer = (word: LoggedLevel) => (fields: object, msg?: string) => {
    if (levels.indexOf(word) < levels.indexOf(level)) return;
    const time = new Date().toISOString();
    write(Buffer.from(`${JSON.stringify({ level: word, time, ...base, ...fields, msg })}\n`));
  };
  return { debug: writer('debug'), info: writer('info'), warn: writer('warn'), error: writer('error') };
}

function write(line: Buffer): void {
  for (let at = 0; at < line.length; )
    try {
      at += writeSync(2, line, at);
    } catch (error) {
      const code = error instanceof Error && 'code' in error ? error.code : null;
      // Nobody reads it any more, which is no reason to stop.
      if (code === 'EPIPE') return;
      if (code !== 'EAGAIN') throw error;
      // A pipe that is full, and that another program made non-blocking.
      Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 10);
    }
}
