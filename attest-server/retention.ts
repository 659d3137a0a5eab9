import { setTimeout as sleep } from 'node:timers/promises';
import type { Store } from './store/store.ts';

interface RetentionParts {
  readonly store: Pick<Store, 'evidenceOwners' | 'eraseEvidence'>;
  readonly now: () => number;
  /** Milliseconds. */
  readonly evidence: number;
  readonly transitionEvidence: number;
  readonly fault: (error: unknown, where: string) => void;
}

const day = 86_400_000;
/** Rows of history in one transaction: others must not wait for it. */
const batch = 100;
const pauseMs = 20;

/** Erases what is older than it may be: at the start, and once a day. */
export function startRetention(parts: RetentionParts): { close(): Promise<void> } {
  const stop = new AbortController();
  const ended = (async () => {
    while (!stop.signal.aborted) {
      await eraseOldEvidence(parts, stop.signal).catch((error: unknown) => parts.fault(error, 'retention'));
      await sleep(day, undefined, { signal: stop.signal }).catch(() => undefined);
    }
  })();
  return {
    close() {
      stop.abort();
      return ended;
    },
  };
}

/** Each erased bundle is named in an audit entry `evidence_erased`. */
export async function eraseOldEvidence(parts: RetentionParts, signal: AbortSignal): Promise<void> {
  const { store, now, evidence, transitionEvidence } = parts;
  for (const name of await store.evidenceOwners())
    for (const [kind, age] of [
      ['all', evidence],
      ['transitions', transitionEvidence],
    ] as const) {
      const request = {
        ...{ node: name, kind, before: now() - age, limit: batch },
        event: (digests: readonly string[]) => ({
          at: now(),
          actor: 'server',
          action: 'evidence_erased',
          subject: name,
          code: 'evidence_erased',
          detail: { count: digests.length, digests: digests.join(' ') },
        }),
      };
      while (!signal.aborted && (await store.eraseEvidence(request)))
        await sleep(pauseMs, undefined, { signal }).catch(() => undefined);
    }
}
