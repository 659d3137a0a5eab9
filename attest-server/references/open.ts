import type { Logger } from 'pino';
import type { LatestBoot } from '../attest/latest-boot.ts';
import type { PolicyGroup } from '../policy/policy.ts';
import type { Reference } from '../protocol/reference.ts';
import { Rejection } from '../protocol/rejection.ts';
import type { NodeStatus, Store } from '../store/store.ts';
import { captured } from './captured.ts';
import { createReferenceLife, type ReferenceLife } from './life.ts';

export interface ReferencesParts {
  readonly store: Pick<Store, 'references' | 'addReference' | 'updateReference'>;
  /** Milliseconds since the epoch. */
  readonly now: () => number;
  /** Whether who captured a reference may not approve it, too. */
  readonly separate: boolean;
  readonly logger: Logger;
  /** What a node last proved of its boot; null where it did not do so lately. */
  readonly latest: (node: string) => LatestBoot | null;
  readonly status: (node: string) => NodeStatus | null;
  readonly groupOf: (node: string) => PolicyGroup;
  /** Puts the stored references in force. */
  readonly changed: () => Promise<void>;
}

/** Reference values, from capture or import to retirement. It holds nothing that must be closed. */
export interface References extends AsyncDisposable {
  readonly life: ReferenceLife;
  /** Makes the node's latest proven boot a reference value. @throws Rejection where it is no model for others */
  capture(node: string, name: string, staged: boolean, actor: string): Promise<Reference>;
}

export function openReferences(parts: ReferencesParts): References {
  const { store, now, separate, logger, latest, status, groupOf, changed } = parts;
  return {
    life: createReferenceLife({ store, now, separate, changed }),
    async capture(node, name, asked, actor) {
      const boot = latest(node);
      if (boot === null)
        throw new Rejection(
          'evidence_overdue',
          `${node} has not proven itself lately: wait for its next answer`,
        );
      const at = now();
      const staged = asked || separate;
      const reference = captured(boot, status(node), { node, name, staged, actor, group: groupOf(node), at });
      await store.addReference(reference, {
        at,
        actor,
        action: 'reference.capture',
        subject: name,
        code: null,
        detail: { node, state: reference.state },
      });
      await changed();
      logger.info({ node, reference: name, actor }, 'a reference was captured');
      return reference;
    },
    async [Symbol.asyncDispose]() {},
  };
}
