import { resolve } from 'node:path';
import pLimit from 'p-limit';
import type { Logger } from 'pino';
import type { EnrolmentStore } from '../enrolment/ports.ts';
import type { EvidenceRoom } from '../evidence/open.ts';
import type { PolicyPorts } from '../http/ports.ts';
import type { SimulatedNode } from '../policy/draft/simulation.ts';
import { checkLatched } from '../policy/file/policy-file.ts';
import { type Policy, underTrial } from '../policy/policy.ts';
import type { Bound } from '../protocol/enrolment-method.ts';
import type { ReloadedPart } from '../telemetry/metrics.ts';
import { EarlierRules } from './earlier-rules.ts';
import { type Affirming, InForce } from './in-force.ts';
import { type KeptProof, type KeptProofPorts, prove } from './kept-proofs.ts';
import { createNodeGroups, type NodeGroups } from './node-groups.ts';
import { firstPolicy, readPolicy, sourceOf } from './policy-source.ts';
import type { DeclaredPolicy, LatchedPolicy } from './ports.ts';
import { logFault, type ReloadedParts, type ReloadTold, reloadParts } from './reload.ts';
import { createTrials, type TrialParts } from './trials.ts';

export interface InForceParts {
  /** `observe`, `strict`, or a file; null: observe. */
  readonly policy: string | null;
  /** Whether the server is on trial: then every group of every policy is held in `observe`. */
  readonly trial: boolean;
  /** That of the signed directory in force; null where there is none, or it has no policy. */
  readonly declared: () => DeclaredPolicy | null;
  /** By which nodes can enrol at this server. */
  readonly methods: readonly Bound[];
  readonly store: TrialParts['store'] & { readonly enrolment: Pick<EnrolmentStore, 'node'> };
  readonly presence: TrialParts['presence'];
  readonly latched: LatchedPolicy;
  /** Kept evidence of a node; null where it was erased. */
  readonly bundle: KeptProofPorts['bundle'];
  readonly contextOf: EvidenceRoom['contextOf'];
  readonly context: EvidenceRoom['context'];
  /** The node's labels in its cluster. */
  readonly labelsOf: (node: string) => Readonly<Record<string, string>>;
  /** Milliseconds since the epoch. */
  readonly now: () => number;
  readonly logger: Logger;
  readonly report: {
    policyInForce(policy: Policy): void;
    /** What was read again is faulty; the old one stays in force. */
    notReloaded(part: ReloadedPart, text: string): void;
    /** What a policy that was read again makes of each node's latest evidence, beside the one before. */
    policyCompared(policy: Policy, nodes: readonly SimulatedNode[]): void;
    fault(error: unknown, where: string): void;
  };
}

/** What verdicts are made by, and how that changes. */
export interface RulesInForce extends AsyncDisposable {
  readonly groups: NodeGroups;
  readonly trials: PolicyPorts;
  /** Kept evidence of a node by its digest, proven again; or why there is no proof. */
  prove(node: string, digest: string): Promise<KeptProof | { readonly proven: null; readonly note: string }>;
  current(): InForce;
  /** Rules by which nodes were trusted before. */
  readonly earlier: EarlierRules;
  policy(): Policy;
  /** What the policy is read from, as `assay policy check` takes it. */
  source(): string;
  /** Who brought the reference of this name, and when; null where nobody is named. */
  affirmedBy(name: string): Affirming | null;
  /** Whether a signed directory says what the reference of this name is. */
  isDeclared(reference: string): boolean;
  /** Since when it is in force here: milliseconds since the epoch. */
  since(): number;
  /** Puts the stored references in force. */
  readReferences(): Promise<void>;
  /**
   * Puts the policy of a signed directory in force (null: it has none) with what `store` stores; the old one where it throws.
   * @throws PolicyError
   */
  adopt(policy: DeclaredPolicy | null, store: () => Promise<void>): Promise<void>;
  /** What is told of a part that is read again beside SIGHUP. */
  readonly told: ReloadTold;
  /** Keeps the policy in force as the one below which no other may go, and then stores the latch: no policy comes in between. */
  latch(store: () => Promise<void>): Promise<void>;
  /** Told when other rules are in force: every node is to be judged by them. */
  onChange(listener: () => void): void;
  /** How all that can be read again is read: the policy, and the parts of other rooms. */
  reloader(others: Omit<ReloadedParts, 'policy'>): () => Promise<void>;
  /** What was faulty when it was last read again. */
  faulty(): readonly FaultyPart[];
}

/** A part of the configuration whose old form is in force, since the new one has faults. */
export interface FaultyPart {
  readonly part: ReloadedPart;
  /** When it was read: milliseconds since the epoch. */
  readonly at: number;
  readonly text: string;
}

/** @throws PolicyError with every fault of the policy's file; Error for a trial on a database that has the latch */
export async function openInForce(parts: InForceParts): Promise<RulesInForce> {
  const { policy: name, trial, declared, methods, store, presence, latched, bundle, contextOf } = parts;
  const { labelsOf, now, logger, report } = parts;
  const faulty = new Map<ReloadedPart, FaultyPart>();
  const told: ReloadTold = {
    reloaded: (part) => void faulty.delete(part),
    notReloaded(part, error) {
      logFault(part, error, logger);
      const text = error instanceof Error ? error.message : String(error);
      faulty.set(part, { part, at: now(), text });
      report.notReloaded(part, text);
    },
  };
  const keep = ({ text }: Policy, its = declared()) => latched.keep({ source: sourceOf(name, its), text });
  const latch = await latched.read();
  if (trial && latch !== null) throw new Error(latchedOnTrial);
  const asHeld = (policy: Policy) => (trial ? underTrial(policy) : policy);
  const { policy: written, refused } = await firstPolicy(name, declared(), methods, latch, logger);
  const first = asHeld(written);
  if (latch !== null && latch.policy?.text !== first.text) await keep(first);
  let current = new InForce(first, await store.references.list(), contextOf, now());
  report.policyInForce(first);
  if (refused !== null) told.notReloaded('policy', refused);
  const earlier = new EarlierRules({ context: parts.context, contextOf, asHeld, fault: report.fault });
  const listeners: (() => void)[] = [];
  // Else references that were read before one was revoked could take the place of those that were read after it.
  const oneByOne = pLimit(1);
  const putInForce = async (next: Policy | null, before: Policy) => {
    earlier.note(current);
    const since = next === null || next.revision === before.revision ? current.since : now();
    current = new InForce(next ?? before, await store.references.list(), contextOf, since);
    if (next !== null) report.policyInForce(next);
    for (const listener of listeners) listener();
  };
  /** Puts the policy of the settings, or the one that a directory declares in its place, in force with what `storeIt` stores. */
  const readAndPut = async (its: DeclaredPolicy | null, storeIt: () => Promise<void>) => {
    const before = current.policy;
    const next = asHeld(await readPolicy(name, its, methods, logger));
    const latch = await latched.read();
    if (latch !== null) checkLatched(next, sourceOf(name, its), latch.groups, before);
    await storeIt();
    if (latch !== null) await keep(next, its);
    await putInForce(next, before);
    compareSoon(before, next);
  };
  const policy = () => current.policy;
  const trials = createTrials({ store, presence, bundle, latched, policy, asHeld, labelsOf, methods, now });
  const closing = new AbortController();
  const comparisons = new Set<Promise<void>>();
  // It takes seconds in a large fleet, and the policy is in force meanwhile.
  const compare = async (before: Policy, after: Policy) => {
    try {
      report.policyCompared(after, await trials.compare(before, after, closing.signal));
    } catch (error) {
      if (!closing.signal.aborted) report.fault(error, 'comparison of policies');
    }
  };
  const compareSoon = (before: Policy, next: Policy) => {
    if (next.revision === before.revision) return;
    const comparison = compare(before, next).finally(() => comparisons.delete(comparison));
    comparisons.add(comparison);
  };
  return {
    groups: createNodeGroups(policy, labelsOf),
    trials,
    async prove(nodeName, digest) {
      const node = await store.enrolment.node(nodeName);
      return node === null ? { proven: null, note: 'it is not enrolled' } : prove({ bundle }, node, digest);
    },
    current: () => current,
    earlier,
    policy,
    source: () => declared()?.source ?? resolve(sourceOf(name, null)),
    affirmedBy: (name) => current.affirmedBy(name),
    isDeclared: (reference) => current.isDeclared(reference),
    since: () => current.since,
    readReferences: () => oneByOne(() => putInForce(null, current.policy)),
    adopt: (policy, storeIt) =>
      oneByOne(async () => {
        // One without a policy leaves that of the settings, which counts again where the one before had one.
        if (policy !== null || declared() !== null) return readAndPut(policy, storeIt);
        await storeIt();
        await putInForce(null, current.policy);
      }),
    told,
    latch: (storeIt) =>
      oneByOne(async () => {
        await keep(current.policy);
        await storeIt();
      }),
    onChange: (listener) => void listeners.push(listener),
    faulty: () => [...faulty.values()],
    reloader(others) {
      const inTurn = pLimit(1);
      // Read in turn, too: else it could be that of a directory which another one has taken the place of meanwhile.
      const policyAgain = () => oneByOne(() => readAndPut(declared(), async () => {}));
      const all = { ...others, policy: policyAgain };
      return () => inTurn(() => reloadParts(all, logger, told));
    },
    async [Symbol.asyncDispose]() {
      closing.abort();
      await Promise.all(comparisons);
    },
  };
}

const latchedOnTrial =
  'trust is enabled for good on this database, and a server on trial trusts nobody: leave trial (ASSAY_TRIAL) out, or name another stateDir (ASSAY_STATE_DIR)';
