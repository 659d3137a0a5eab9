import pLimit from 'p-limit';
import type { Reference } from '../protocol/reference.ts';
import { afterAction, NotNow, type ReferenceAction } from '../protocol/reference-life.ts';
import { Rejection } from '../protocol/rejection.ts';
import type { ReferenceStore } from './ports.ts';

export interface ReferenceParts {
  readonly store: Pick<ReferenceStore, 'list' | 'add' | 'update'>;
  /** Milliseconds since the epoch. */
  readonly now: () => number;
  /** Whether who captured a reference may not approve it, too. */
  readonly separate: boolean;
  /** Puts the stored references in force. */
  readonly changed: () => Promise<void>;
}

export interface ReferenceLife {
  /** Null where there is none of that name. @throws Rejection `role_denied`; NotNow for a state that does not allow it */
  change(name: string, action: ReferenceAction, reason: string, actor: string): Promise<Reference | null>;
  /** Takes in a reference that was made elsewhere. @throws NotNow where its name is taken */
  add(reference: Reference, actor: string): Promise<Reference>;
}

/** The life of reference values: staged, active, retired, revoked; each step is in the audit log. */
export function createReferenceLife({ store, now, separate, changed }: ReferenceParts): ReferenceLife {
  // What one reads must not be changed before he writes: a revocation would be undone by whoever came just before.
  const inTurn = pLimit(1);
  const life: ReferenceLife = {
    async change(name, action, reason, actor) {
      const found = (await store.list()).find((reference) => reference.name === name);
      if (found === undefined) return null;
      const next = afterAction(found, action);
      if (action === 'approve' && separate && found.captured?.by === actor)
        throw new Rejection(
          'role_denied',
          `${name} was captured by the same person; approvals.separate asks for another one to approve it`,
        );
      await store.update(next, {
        at: now(),
        actor,
        action: `reference.${action}`,
        subject: name,
        code: null,
        detail: { from: found.state, to: next.state, reason },
      });
      await changed();
      return next;
    },

    async add(reference, actor) {
      if ((await store.list()).some(({ name }) => name === reference.name))
        throw new NotNow(`there is a reference named ${reference.name} already`);
      const { name } = reference;
      const at = new Date(now()).toISOString();
      // Whoever brings it vouches for it, whatever the file says of itself.
      const captured = { by: actor, node: reference.captured?.node ?? '-', at };
      const added: Reference = {
        ...reference,
        captured,
        ...(separate && reference.state === 'active' && { state: 'staged' }),
      };
      await store.add(added, {
        at: now(),
        actor,
        action: 'reference.import',
        subject: name,
        code: null,
        detail: { state: added.state, group: added.group },
      });
      await changed();
      return added;
    },
  };
  return {
    change: (...step) => inTurn(() => life.change(...step)),
    add: (...step) => inTurn(() => life.add(...step)),
  };
}
