import { type DestinationStream, type Logger, pino } from 'pino';
import type { LogLevel } from './settings.ts';

/**
 * The log of the server, of which `agent/logger.ts` writes the very lines: lines of JSON with levels as words and times in RFC 3339.
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
