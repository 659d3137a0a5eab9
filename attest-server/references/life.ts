import pLimit from 'p-limit';
import type { ReferenceChange } from '../declared/ports.ts';
import { isDeclaredActor } from '../formats/declared.ts';
import { inSteps } from '../formats/in-steps.ts';
import {
  type Announcement,
  contentFaultInSteps,
  isAnnounced,
  type Reference,
  type ReferenceAction,
  saysNothing,
} from '../formats/reference.ts';
import { afterAction, NotNow } from '../formats/reference-life.ts';
import type { Policy } from '../policy/policy.ts';
import { type SharedReference, sharedWithInSteps } from '../policy/reference-reach.ts';
import { Rejection } from '../wire/rejection.ts';
import { announcingFault } from './announcing-fault.ts';
import { brief } from './brief.ts';
import { type Declaration, declaredChanges } from './declare.ts';
import type { ReferenceStore } from './ports.ts';

export interface ReferenceParts {
  readonly store: Pick<ReferenceStore, 'list' | 'add' | 'update' | 'remove'>;
  /** Milliseconds since the epoch. */
  readonly now: () => number;
  /** Whether who captured a reference may not approve it, too. */
  readonly separate: boolean;
  /** The one in force. */
  readonly policy: () => Policy;
  /** Puts the stored references in force. */
  readonly changed: () => Promise<void>;
  /** The signed directory that says what some references are; null if there is none. */
  readonly directory: string | null;
}

export interface ReferenceLife {
  /**
   * Null if there is none of that name.
   * @param taint of a revocation: nodes that rest on it are tainted at once, and wait for nobody
   * @throws Rejection `role_denied`; NotNow for a state that does not allow it
   */
  change(
    name: string,
    action: ReferenceAction,
    reason: string,
    actor: string,
    taint?: boolean,
  ): Promise<ChangedReference | null>;
  /** False if there is none of that name. @throws NotNow if it counts */
  remove(name: string, reason: string, actor: string): Promise<boolean>;
  /**
   * Expects nodes to boot like a staged reference, which counts for them until then; null if there is none of that name.
   * @throws Rejection `role_denied`; NotNow if it is not one of boots, or not staged
   */
  announce(name: string, change: ExpectedChange, actor: string): Promise<Reference | null>;
  /** Null if there is none of that name. @throws NotNow if nothing is announced */
  endAnnouncement(name: string, actor: string): Promise<Reference | null>;
  /** Takes in a reference that was made elsewhere. @throws NotNow if its name is taken */
  add(reference: Reference, actor: string): Promise<Reference>;
  /** All references as a signed directory leaves them. */
  declared(declaration: Declaration): Promise<readonly Reference[]>;
  /** Gives `commit` what a signed directory changes; nobody else changes a reference meanwhile. */
  declare(
    declaration: Declaration,
    commit: (changes: readonly ReferenceChange[]) => Promise<void>,
  ): Promise<void>;
}

/** The change that a person expects. */
export interface ExpectedChange extends Pick<Announcement, 'nodes' | 'reason'> {
  /** Milliseconds since the epoch. */
  readonly until: number;
}

export interface ChangedReference {
  readonly reference: Reference;
  /** Active references that affirm what was revoked; of any other step, none. */
  readonly sharedWith: readonly SharedReference[];
}

/** The life of reference values: staged, active, retired, revoked; each step is in the audit log. */
export function createReferenceLife(parts: ReferenceParts): ReferenceLife {
  const { store, now, separate, policy, changed, directory } = parts;
  /** Only the directory changes what it declares: else a merge and an operator would undo each other's work. */
  const checkUndeclared = ({ name, declared }: Reference, action: string) => {
    if (directory !== null && declared !== undefined)
      throw new NotNow(
        `reference ${name} is declared in ${directory} (serial ${declared.serial}, key ${declared.key}): change it there; of declared references only revoke is done here, not ${action}`,
      );
  };
  /** Attack: the person who captured it puts it in force alone: by revoking and restoring it, or by announcing it. */
  const checkOther = ({ name, captured }: Reference, actor: string, action: string) => {
    if (separate && captured?.by === actor)
      throw new Rejection(
        'role_denied',
        `the same person captured ${name}; with approvals.separate another person must ${action} it`,
      );
  };
  // Nothing may change between read and write: otherwise a concurrent step would undo a revocation.
  const inTurn = pLimit(1);
  const life: ReferenceLife = {
    async change(name, action, reason, actor, taint = false) {
      const references = await store.list();
      const found = references.find((reference) => reference.name === name);
      if (found === undefined) return null;
      const next = afterAction(found, action);
      const { state } = next;
      // A person may always say that something is bad, and take that word of a person back.
      const isPersons = !isDeclaredActor(found.changed?.by ?? null);
      if (action !== 'revoke' && !(action === 'restore' && isPersons)) checkUndeclared(found, action);
      if (state === 'active') checkOther(found, actor, 'approve');
      const at = now();
      const from = found.state;
      const asked = taint && action === 'revoke' ? ({ taint } as const) : {};
      const step = { action, by: actor, at: new Date(at).toISOString(), reason, from, ...asked };
      const reference: Reference = { ...next, changed: step };
      const shared =
        action === 'revoke' ? await inSteps(sharedWithInSteps(found, references, policy(), at)) : [];
      const affirmedBy = shared.map((other) => other.name).join(' ');
      await store.update(reference, {
        at,
        actor,
        action: `reference.${action}`,
        subject: name,
        code: null,
        detail: {
          kind: found.kind,
          from,
          to: state,
          reason,
          ...asked,
          ...(affirmedBy !== '' && { affirmedBy: brief(affirmedBy) }),
        },
      });
      await changed();
      return { reference, sharedWith: shared };
    },

    async remove(name, reason, actor) {
      const found = (await store.list()).find((reference) => reference.name === name);
      if (found === undefined) return false;
      checkUndeclared(found, 'delete');
      const { kind, state, group } = found;
      // Attack: a revocation that is deleted is taken back, and nobody sees it.
      if (state !== 'staged' && state !== 'retired')
        throw new NotNow(
          `reference ${name} is ${state}: delete needs one that is staged or retired, which decides nothing`,
        );
      const at = now();
      if (isAnnounced(found, at))
        throw new NotNow(
          `reference ${name} is announced until ${found.announced?.until}, and counts until then: end that announcement first`,
        );
      await store.remove(name, {
        at,
        actor,
        action: 'reference.delete',
        subject: name,
        code: null,
        detail: { kind, state, group, reason },
      });
      await changed();
      return true;
    },

    async announce(name, { nodes, reason, until }, actor) {
      const found = (await store.list()).find((reference) => reference.name === name);
      if (found === undefined) return null;
      checkUndeclared(found, 'announce');
      const { group } = found;
      const at = now();
      const fault = announcingFault(found, nodes, at);
      if (fault !== null) throw new NotNow(fault);
      // What says nothing makes nobody trusted: that needs no second person.
      if (!saysNothing(found)) checkOther(found, actor, 'announce');
      const end = new Date(until).toISOString();
      const announced: Announcement = {
        nodes,
        by: actor,
        at: new Date(at).toISOString(),
        until: end,
        reason,
      };
      const reference: Reference = { ...found, announced };
      await store.update(reference, {
        at,
        actor,
        action: 'reference.announce',
        subject: name,
        code: null,
        detail: { group, nodes: nodes === null ? null : brief(nodes.join(' ')), until: end, reason },
      });
      await changed();
      return reference;
    },

    async endAnnouncement(name, actor) {
      const found = (await store.list()).find((reference) => reference.name === name);
      if (found === undefined) return null;
      const { announced, ...reference } = found;
      if (announced === undefined) throw new NotNow(`nothing is announced of reference ${name}`);
      await store.update(reference, {
        at: now(),
        actor,
        action: 'reference.announce.end',
        subject: name,
        code: null,
        detail: { until: announced.until },
      });
      await changed();
      return reference;
    },

    async add({ changed: _elsewhere, announced: _there, declared: _by, ...reference }, actor) {
      if ((await store.list()).some(({ name }) => name === reference.name))
        throw new NotNow(`a reference named ${reference.name} already exists`);
      // Empty means refuse: a reference without content would be compared with nothing.
      const fault = await inSteps(contentFaultInSteps(reference));
      if (fault !== null) throw new NotNow(`reference ${reference.name} cannot be taken in: ${fault}`);
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
        detail: { kind: added.kind, state: added.state, group: added.group },
      });
      await changed();
      return added;
    },

    async declared(declaration) {
      const held = await store.list();
      const changes = declaredChanges(held, declaration).map(({ reference }) => reference);
      const names = new Set(changes.map(({ name }) => name));
      return [...held.filter(({ name }) => !names.has(name)), ...changes];
    },

    declare: async (declaration, commit) => commit(declaredChanges(await store.list(), declaration)),
  };
  return {
    change: (...step) => inTurn(() => life.change(...step)),
    remove: (...step) => inTurn(() => life.remove(...step)),
    announce: (...step) => inTurn(() => life.announce(...step)),
    endAnnouncement: (...step) => inTurn(() => life.endAnnouncement(...step)),
    add: (...step) => inTurn(() => life.add(...step)),
    declared: life.declared,
    declare: (...step) => inTurn(() => life.declare(...step)),
  };
}
