import type { Logger } from 'pino';
import { PolicyError } from '../policy/file/policy-error.ts';
import type { ReloadedPart } from '../telemetry/metrics.ts';

/** How each part is read anew, in the order in which they are. */
export type ReloadedParts = Readonly<Record<ReloadedPart, () => void | Promise<void>>>;

/** Told what became of a part that was read again. */
export interface ReloadTold {
  /** It counts as it is now. */
  reloaded(part: ReloadedPart): void;
  /** It is faulty: the old one stays in force. */
  notReloaded(part: ReloadedPart, error: unknown): void;
}

/**
 * Reads each part anew, in order. A faulty one stays as it was, is reported with file, line and field, and does not keep
 * the others back.
 * @throws what was wrong, once all parts were tried
 */
export async function reloadParts(
  { declared, policy, roots, certificate, tokens, webhook }: ReloadedParts,
  logger: Logger,
  told: ReloadTold,
): Promise<void> {
  const faults: unknown[] = [];
  const parts = [
    // It may hold the policy.
    ['declared', declared],
    ['policy', policy],
    ['roots', roots],
    ['certificate', certificate],
    ['tokens', tokens],
    ['webhook', webhook],
  ] as const;
  for (const [part, read] of parts)
    await reloadPart(part, read, logger, told).catch((error: unknown) => faults.push(error));
  if (faults.length === 1) throw faults[0];
  if (faults.length > 1) throw new AggregateError(faults, 'several parts could not be read again');
}

/** The same of one part. @throws what was wrong */
export async function reloadPart(
  part: ReloadedPart,
  read: () => void | Promise<void>,
  logger: Logger,
  told: ReloadTold,
): Promise<void> {
  try {
    await read();
    told.reloaded(part);
    logger.info({ part }, `read again: ${part}`);
  } catch (error) {
    told.notReloaded(part, error);
    throw error;
  }
}

export function logFault(part: string, error: unknown, logger: Logger): void {
  const stays = `the old ${part} stays in force`;
  if (!(error instanceof PolicyError)) logger.error({ part, err: error }, stays);
  else
    for (const { line, field, text } of error.faults)
      logger.error({ part, file: error.file, line, field }, `${text}: ${stays}`);
}
