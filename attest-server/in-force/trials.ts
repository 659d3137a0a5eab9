import pLimit from 'p-limit';
import type { NodeStatus } from '../attest/ports.ts';
import type { EnrolmentStore } from '../enrolment/ports.ts';
import type { EnrolmentMethod } from '../formats/enrolment-method.ts';
import { inSteps } from '../formats/in-steps.ts';
import type { Reference } from '../formats/reference.ts';
import { afterAction } from '../formats/reference-life.ts';
import type { PolicyPorts } from '../http/ports.ts';
import { lacksProof } from '../policy/capture.ts';
import type { SimulatedNode } from '../policy/draft/simulation.ts';
import { PolicyError, type PolicyFault } from '../policy/file/policy-error.ts';
import { checkLatched, parsePolicy } from '../policy/file/policy-file.ts';
import { groupOf, type Policy, shownGroup } from '../policy/policy.ts';
import { likenessTo, sharedWithInSteps } from '../policy/reference-reach.ts';
import type { PresenceRoom } from '../presence/open.ts';
import type { ReferenceStore } from '../references/ports.ts';
import type { KeptProofPorts, NodeRange } from './kept-proofs.ts';
import { observeKept } from './observe.ts';
import type { LatchedPolicy } from './ports.ts';
import { simulate } from './simulate.ts';

export interface TrialParts {
  readonly store: {
    readonly enrolment: Pick<EnrolmentStore, 'nodes'>;
    readonly references: Pick<ReferenceStore, 'list'>;
    readonly verdicts: { status(node: string): Promise<Pick<NodeStatus, 'evidenceDigest'> | null> };
  };
  readonly presence: Pick<PresenceRoom, 'present'>;
  readonly bundle: KeptProofPorts['bundle'];
  readonly latched: Pick<LatchedPolicy, 'read'>;
  readonly policy: () => Policy;
  /** A policy as this server would have it in force. */
  readonly asHeld: (policy: Policy) => Policy;
  readonly labelsOf: (node: string) => Readonly<Record<string, string>>;
  /** By which nodes can enrol at this server. */
  readonly methods: readonly EnrolmentMethod[];
  /** The share of the trusted nodes that a policy may make untrusted. */
  readonly refusedShare: number;
  /** Milliseconds since the epoch. */
  readonly now: () => number;
}

export interface Trials extends PolicyPorts {
  /**
   * The latest evidence of every node under two policies; others that ask come in between.
   * @param held by which both judge; null: those in the store
   * @param progress told how many nodes were judged so far
   * @throws what aborted it
   */
  compare(
    before: Policy,
    after: Policy,
    held: readonly Reference[] | null,
    signal: AbortSignal,
    progress: (judged: number) => void,
  ): Promise<readonly SimulatedNode[]>;
}

/** Callers that wait for their turn; others must retry. */
const mostWaiting = 8;
/** Nodes that are compared in one turn: as long as others wait. */
const comparedAtOnce = 100;

/** The queue is full: come again in a moment. */
class TooManyTrials extends Error {
  override readonly name = 'TooManyTrials';
}

/** Answers questions about policies and references, one after the other: each judges evidence again, and challenges come first. */
export function createTrials(parts: TrialParts): Trials {
  const { store, presence, bundle, latched, policy, asHeld, labelsOf, methods, refusedShare, now } = parts;
  const oneByOne = pLimit(1);
  const inTurn = <T>(work: () => Promise<T>): Promise<T> => {
    if (oneByOne.pendingCount + oneByOne.activeCount >= mostWaiting)
      throw new TooManyTrials('others are trying policies or references right now; try again in a moment');
    return oneByOne(work);
  };
  const ports = {
    nodes: async () => presence.present(await store.enrolment.nodes()),
    bundle,
    evidenceDigest: async (node: string) => (await store.verdicts.status(node))?.evidenceDigest ?? null,
    references: () => store.references.list(),
    policy,
    labelsOf,
    now,
  };
  const latchFaults = async (tried: Policy, file: string): Promise<readonly PolicyFault[]> => {
    const its = await latched.read();
    if (its === null) return [];
    try {
      checkLatched(tried, file, its.groups, policy());
      return [];
    } catch (error) {
      if (error instanceof PolicyError) return error.faults;
      throw error;
    }
  };
  return {
    groups: () => policy().groups.map(shownGroup),
    async simulate({ text, file }, page) {
      const tried = asHeld(parsePolicy(text, file, methods));
      const faults = await latchFaults(tried, file);
      return inTurn(async () => {
        const references = await store.references.list();
        const before = { policy: policy(), references };
        const judged = await simulate(ports, { before, after: { policy: tried, references } }, page);
        return { ...judged, latched: faults, refusedShare };
      });
    },
    simulateReference: async (name, action, page) =>
      inTurn(async () => {
        const references = await store.references.list();
        const found = references.find((reference) => reference.name === name);
        if (found === undefined) return null;
        const changed = afterAction(found, action);
        const before = { policy: policy(), references };
        const others = references.map((reference) => (reference === found ? changed : reference));
        const after = { policy: before.policy, references: others };
        const isLike = likenessTo(found);
        const alike = new Set<string>();
        const { items, next } = await simulate(ports, { before, after }, page, async (proven, node) => {
          const group = groupOf(before.policy, node.name, node.labels);
          if (isLike !== null && (await inSteps(isLike(proven, node.name, group, now()))))
            alike.add(node.name);
        });
        return {
          reference: found,
          to: changed.state,
          sharedWith:
            action === 'revoke'
              ? await inSteps(sharedWithInSteps(found, references, before.policy, now()))
              : [],
          items: isLike === null ? items : items.map((item) => ({ ...item, like: alike.has(item.node) })),
          next,
        };
      }),
    simulateAdded: async (added, page, andTrusted) => {
      // Whatever else they say makes no node worse than it is.
      const isDemanded = added.some(({ aggregate }) => aggregate === 'required');
      if (!isDemanded && !andTrusted) return { items: [], next: null };
      return inTurn(async () => {
        const references = await store.references.list();
        const before = { policy: policy(), references };
        const inForce = added.map((reference): Reference => ({ ...reference, state: 'active' }));
        const after = { policy: before.policy, references: [...references, ...inForce] };
        const { items, next } = await simulate(ports, { before, after }, page);
        const isShown = ({ before, after }: SimulatedNode) =>
          after === null ||
          (lacksProof(after.reasons) && !lacksProof(before?.reasons ?? [])) ||
          (andTrusted && after.state === 'trusted' && before?.state !== 'trusted');
        return { items: items.filter(isShown), next };
      });
    },
    observations: async (page) => inTurn(() => observeKept(ports, page)),
    async compare(before, after, held, signal, progress) {
      const references = held ?? (await store.references.list());
      // Once: each page would read and sort all of them.
      const nodes = await ports.nodes();
      const known = { ...ports, nodes: async () => nodes };
      const bases = { before: { policy: before, references }, after: { policy: after, references } };
      const items: SimulatedNode[] = [];
      for (let next: string | undefined | null; next !== null; ) {
        const page: NodeRange = { after: next, limit: comparedAtOnce };
        const judged = await oneByOne(() => {
          signal.throwIfAborted();
          return simulate(known, bases, page);
        });
        signal.throwIfAborted();
        items.push(...judged.items);
        next = judged.next;
        progress(items.length);
      }
      return items;
    },
  };
}
