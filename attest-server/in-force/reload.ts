import pLimit from 'p-limit';
import type { Logger } from 'pino';
import { PolicyError } from '../policy/file/policy-error.ts';
import { type RefusedPolicy, refusedIn } from './policy-refusal.ts';

/** In the order in which they are read: what a signed directory declares comes first, as it may hold the policy. */
export const reloadedParts = ['declared', 'policy', 'roots', 'certificate', 'tokens', 'webhook'] as const;
export type ReloadedPart = (typeof reloadedParts)[number];

/** How each part is read again. */
export type ReloadedParts = Readonly<Record<ReloadedPart, () => void | Promise<void>>>;

/** Reports the outcome of a part that was read again. */
export interface ReloadTold {
  /** It counts as it is now. */
  reloaded(part: ReloadedPart): void;
  /** It is faulty: the old one stays in force. */
  notReloaded(part: ReloadedPart, error: unknown): void;
}

/** A part of the configuration whose old form is in force, since the new one has faults. */
export interface FaultyPart {
  readonly part: ReloadedPart;
  /** When it was read: milliseconds since the epoch. */
  readonly at: number;
  readonly text: string;
  /** The policy, where what is wrong is what it would do to nodes; else null. */
  readonly refused: RefusedPolicy | null;
}

/** Reads parts of the configuration again, one at a time, and knows which of them are faulty. */
export interface Reloads {
  readonly told: ReloadTold;
  faulty(): readonly FaultyPart[];
  /** From here on they can be read again. */
  begin(parts: ReloadedParts): void;
  hasBegun(): boolean;
  /**
   * Reads each part again, in order. A faulty one stays as it was, is reported with file, line and field, and does not keep
   * the others back.
   * @throws what was wrong, once all parts were tried
   */
  all(): Promise<void>;
  /** The same of one part: what was wrong with it is reported by then. */
  again(part: ReloadedPart): Promise<void>;
  /** Resolves when nothing is being read. */
  idle(): Promise<void>;
}

export interface ReloadsParts {
  /** Milliseconds since the epoch. */
  readonly now: () => number;
  readonly logger: Logger;
  /** The part that was read again is faulty; the old one stays in force. */
  readonly notReloaded: (part: ReloadedPart, text: string) => void;
  /** Once it is aborted no part is faulty any more. */
  readonly signal: AbortSignal;
}

export function createReloads({ now, logger, notReloaded, signal }: ReloadsParts): Reloads {
  const faulty = new Map<ReloadedPart, FaultyPart>();
  const inTurn = pLimit(1);
  let parts: ReloadedParts | null = null;
  const told: ReloadTold = {
    reloaded: (part) => void faulty.delete(part),
    notReloaded(part, error) {
      if (signal.aborted) return;
      logFault(part, error, logger);
      const text = error instanceof Error ? error.message : String(error);
      faulty.set(part, { part, at: now(), text, refused: refusedIn(error) });
      notReloaded(part, text);
    },
  };
  const read = async (part: ReloadedPart, how: ReloadedParts): Promise<void> => {
    try {
      await how[part]();
      told.reloaded(part);
      logger.info({ part }, `read again: ${part}`);
    } catch (error) {
      told.notReloaded(part, error);
      throw error;
    }
  };
  return {
    told,
    faulty: () => [...faulty.values()],
    begin: (all) => {
      parts = all;
    },
    hasBegun: () => parts !== null,
    all: () =>
      inTurn(async () => {
        if (parts === null) return;
        const faults: unknown[] = [];
        for (const part of reloadedParts)
          await read(part, parts).catch((error: unknown) => faults.push(error));
        if (faults.length === 1) throw faults[0];
        if (faults.length > 1) throw new AggregateError(faults, 'several parts could not be read again');
      }),
    async again(part) {
      const all = parts;
      if (all !== null) await inTurn(() => read(part, all)).catch(() => {});
    },
    idle: () => inTurn(() => {}),
  };
}

function logFault(part: string, error: unknown, logger: Logger): void {
  const stays = `the old ${part} stays in force`;
  if (!(error instanceof PolicyError)) logger.error({ part, err: error }, stays);
  else
    for (const { line, field, text } of error.faults)
      logger.error({ part, file: error.file, line, field }, `${text}: ${stays}`);
}
