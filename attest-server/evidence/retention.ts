import { setTimeout as sleep } from 'node:timers/promises';
import type { AuditEvent } from '../formats/audit.ts';
import { namedDigests, namingBlobs } from './named-digests.ts';
import type { EvidencePorts } from './ports.ts';

type RetentionParts = Pick<
  EvidencePorts,
  'store' | 'now' | 'evidenceFor' | 'transitionEvidenceFor' | 'fault'
>;

const day = 86_400_000;
/** Rows of history in one transaction: others must not wait for it. */
const batch = 100;
const pauseMs = 20;
/** A use is noted once a day: what is unused for this long is so for certain. */
const useNotedWithin = 2 * day;
/** Owner of blobs that belong to no single node. */
const shared = 'shared';

/** Erases what is older than it may be: at the start, and once a day. */
export function startRetention(parts: RetentionParts): { close(): Promise<void> } {
  const stop = new AbortController();
  const ended = (async () => {
    while (!stop.signal.aborted) {
      await eraseOldEvidence(parts, stop.signal).catch((error: unknown) => parts.fault(error, 'retention'));
      await sleep(day, undefined, { signal: stop.signal, ref: false }).catch(() => undefined);
    }
  })();
  return {
    close() {
      stop.abort();
      return ended;
    },
  };
}

/** Each erased bundle, and each log, key or policy that only erased ones named, is in an audit entry `evidence_erased`. */
export async function eraseOldEvidence(parts: RetentionParts, signal: AbortSignal): Promise<void> {
  const { store, now, evidenceFor, transitionEvidenceFor } = parts;
  const eventOf =
    (subject: string) =>
    (digests: readonly string[]): AuditEvent => ({
      at: now(),
      actor: 'server',
      action: 'evidence_erased',
      subject,
      code: 'evidence_erased',
      detail: { count: digests.length, digests: digests.join(' ') },
    });
  for (const name of await store.owners())
    for (const [kind, age] of [
      ['all', evidenceFor],
      ['transitions', transitionEvidenceFor],
    ] as const) {
      const request = { node: name, kind, before: now() - age, limit: batch, event: eventOf(name) };
      while (!signal.aborted && (await store.erase(request)))
        await sleep(pauseMs, undefined, { signal }).catch(() => undefined);
    }
  const keptBefore = now() - evidenceFor;
  if (signal.aborted) return;
  await store.eraseUnused({
    keptBefore,
    usedBefore: keptBefore - useNotedWithin,
    named: namedDigests,
    lists: namingBlobs,
    event: eventOf(shared),
    signal,
  });
}
