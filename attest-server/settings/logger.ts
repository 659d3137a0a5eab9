import { type DestinationStream, type Logger, pino } from 'pino';
import type { LogLevel } from './settings.ts';

/**
 * The log of every program: lines of JSON with levels as words and times in RFC 3339.
 * @param base members of every line; null: none
 * @param destination without one standard error
 */
export function createLogger(
  level: LogLevel,
  base: Readonly<Record<string, string>> | null,
  destination: DestinationStream = pino.destination(2),
): Logger {
  return pino(
    {
      level,
      base: base && { ...base },
      formatters: { level: (word) => ({ level: word }) },
      timestamp: () => `,"time":"${new Date().toISOString()}"`,
    },
    destination,
  );
}

/** Standard error, where the process may end right after a line: each is written before the next statement. */
export function writtenAtOnce(): DestinationStream {
  return pino.destination({ dest: 2, sync: true });
}
