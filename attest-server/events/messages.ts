import { setTimeout as delay } from 'node:timers/promises';
import type { AuditEntry } from '../formats/audit.ts';
import { type EncodedMessage, isTold, messageOf, trialMessage } from './message.ts';
import type { EventStore } from './ports.ts';

/** Makes messages of entries, with what an entry alone does not say: the verdict behind it, and the cluster. */
export interface Messages {
  /** Whether the entry is an event; no more is read for that. */
  isTold(entry: AuditEntry): boolean;
  /** Null if the entry is no event. */
  about(entry: AuditEntry): Promise<EncodedMessage | null>;
  /** The message that a person sends to test a receiver. @param at milliseconds since the epoch */
  trial(id: string, at: number, by: string): EncodedMessage;
}

export interface MessagesParts {
  readonly store: EventStore;
  /** The uid of the cluster; null outside of one. */
  readonly clusterUid: (() => Promise<string>) | null;
  /** Monotonic milliseconds. */
  readonly monotonic: () => number;
}

/** Milliseconds between two questions for the cluster's uid. */
const askEvery = 60_000;
/** Milliseconds for which a message waits for it. */
const clusterWithin = 2000;

export function createMessages({ store, clusterUid, monotonic }: MessagesParts): Messages {
  let cluster: string | null = null;
  let askAgainAt = Number.NEGATIVE_INFINITY;
  /** A slow API delays nothing for long: until it answers, messages name no cluster. */
  const askCluster = async () => {
    if (clusterUid === null || cluster !== null || monotonic() < askAgainAt) return;
    askAgainAt = monotonic() + askEvery;
    const asked = clusterUid().then(
      (uid) => {
        cluster = uid;
      },
      // Why there is no answer is said by the room that asks.
      () => {},
    );
    await Promise.race([asked, delay(clusterWithin, undefined, { ref: false })]);
  };
  return {
    isTold,
    async about(entry) {
      if (!isTold(entry)) return null;
      await askCluster();
      const { state } = entry.detail;
      const transition =
        entry.action === 'verdict' && typeof state === 'string'
          ? await store.transition(entry.subject, entry.at, state)
          : null;
      return messageOf(entry, transition, cluster);
    },
    trial: (id, at, by) => trialMessage(id, at, by, cluster),
  };
}
