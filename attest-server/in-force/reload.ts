import type { Logger } from 'pino';
import { PolicyError } from '../policy/file/policy-error.ts';
import type { ReloadedPart } from '../telemetry/metrics.ts';

/** How each part is read anew, in the order in which they are. */
export type ReloadedParts = Readonly<Record<ReloadedPart, () => void | Promise<void>>>;

/**
 * Reads each part anew, in order. A faulty one stays as it was, is reported with file, line and field, and does not keep
 * the others back.
 * @throws what was wrong, once all parts were tried
 */
export async function reloadParts(
  { policy, roots, certificate, tokens, webhook }: ReloadedParts,
  logger: Logger,
  report: {
    readonly reloaded: (part: ReloadedPart) => void;
    readonly notReloaded: (part: ReloadedPart, text: string) => void;
  },
): Promise<void> {
  const faults: unknown[] = [];
  const parts = [
    ['policy', policy],
    ['roots', roots],
    ['certificate', certificate],
    ['tokens', tokens],
    ['webhook', webhook],
  ] as const;
  for (const [part, read] of parts)
    try {
      await read();
      report.reloaded(part);
      logger.info({ part }, `read again: ${part}`);
    } catch (error) {
      faults.push(error);
      logFault(part, error, logger);
      report.notReloaded(part, error instanceof Error ? error.message : String(error));
    }
  if (faults.length === 1) throw faults[0];
  if (faults.length > 1) throw new AggregateError(faults, 'several parts could not be read again');
}

export function logFault(part: string, error: unknown, logger: Logger): void {
  const stays = `the old ${part} stays in force`;
  if (!(error instanceof PolicyError)) logger.error({ part, err: error }, stays);
  else
    for (const { line, field, text } of error.faults)
      logger.error({ part, file: error.file, line, field }, `${text}: ${stays}`);
}
