/**
 * Which policy and references are in force (`in-force`), and by which nodes were trusted before
 * (`earlier-rules`). In a latched cluster no policy comes in force that is below the latch (`policy/latch`).
 *
 * `policy-history` has the policies that were, and which one a person went back to or allowed; `policy-refusal`
 * says whether another one takes the trust of too many nodes; `trials` tries others on kept evidence; `reload`
 * does what SIGHUP reads again, and says what of it is faulty.
 */

import { resolve } from 'node:path';
import pLimit from 'p-limit';
import type { Logger } from 'pino';
import type { EnrolmentStore } from '../enrolment/ports.ts';
import type { EvidenceRoom } from '../evidence/open.ts';
import type { EnrolmentMethod } from '../formats/enrolment-method.ts';
import type { PolicyArrival } from '../formats/policy-arrival.ts';
import { policyLabel } from '../formats/policy-label.ts';
import type { Reference } from '../formats/reference.ts';
import { NotNow } from '../formats/reference-life.ts';
import type { PolicyHistoryPorts, PolicyPorts } from '../http/ports.ts';
import { PolicyError } from '../policy/file/policy-error.ts';
import { checkLatched, parsePolicy } from '../policy/file/policy-file.ts';
import { type Policy, underTrial } from '../policy/policy.ts';
import { EarlierRules } from './earlier-rules.ts';
import { type Affirmation, InForce } from './in-force.ts';
import { type KeptProof, type KeptProofPorts, prove } from './kept-proofs.ts';
import { createNodeGroups, type NodeGroups } from './node-groups.ts';
import { digestOf, openPolicyHistory, type SourcedPolicy } from './policy-history.ts';
import { createPolicyRefusal, isTimeout, type PolicyRefusalParts } from './policy-refusal.ts';
import { firstPolicy, readPolicy, sourceOf } from './policy-source.ts';
import type { DeclaredPolicy, LatchedPolicy, PolicyStore } from './ports.ts';
import { createReloads, type FaultyPart, type ReloadedParts, type ReloadTold } from './reload.ts';
import type { InForceReport } from './report.ts';
import { createTrials, type TrialParts } from './trials.ts';

export interface InForceParts {
  /** `observe`, `strict`, or a file; null: observe. */
  readonly policy: string | null;
  /** Whether the server is on trial: then every group of every policy is held in `observe`. */
  readonly trial: boolean;
  /** The policy of the signed directory in force; null if there is none, or it has no policy. */
  readonly declared: () => DeclaredPolicy | null;
  /** By which nodes can enrol at this server. */
  readonly methods: readonly EnrolmentMethod[];
  readonly store: TrialParts['store'] & {
    readonly enrolment: Pick<EnrolmentStore, 'node'>;
    readonly verdicts: { readonly status: PolicyRefusalParts['status'] };
    readonly policies: PolicyStore;
  };
  readonly presence: TrialParts['presence'];
  readonly latched: LatchedPolicy;
  /** Kept evidence of a node; null if it was erased. */
  readonly bundle: KeptProofPorts['bundle'];
  readonly contextOf: EvidenceRoom['contextOf'];
  readonly context: EvidenceRoom['context'];
  /** The node's labels in its cluster. */
  readonly labelsOf: (node: string) => Readonly<Record<string, string>>;
  /** Which share of the trusted nodes a policy may make untrusted; 1: all of them. */
  readonly refusedShare: number;
  /** Milliseconds for which a start waits for what a new policy would do. */
  readonly startWithin: number;
  /** Milliseconds since the epoch. */
  readonly now: () => number;
  /** Milliseconds of a monotonic clock. */
  readonly monotonic: () => number;
  readonly logger: Logger;
  readonly report: InForceReport & { fault(error: unknown, where: string): void };
}

/** The basis of verdicts, and how it changes. */
export interface RulesInForce extends AsyncDisposable {
  readonly groups: NodeGroups;
  readonly trials: PolicyPorts;
  /** Kept evidence of a node by its digest, proven again; or why there is no proof. */
  prove(node: string, digest: string): Promise<KeptProof | { readonly proven: null; readonly note: string }>;
  current(): InForce;
  /** Rules by which nodes were trusted before. */
  readonly earlier: EarlierRules;
  policy(): Policy;
  /** The source of the policy, as `assay policy check` takes it. */
  source(): string;
  /** Who brought the reference of this name, and when; null if nobody is named. */
  affirmedBy(name: string): Affirmation | null;
  /** Whether a signed directory says what the reference of this name is. */
  isDeclared(reference: string): boolean;
  /** Since when it is in force here: milliseconds since the epoch. */
  since(): number;
  /** Puts the stored references in force. */
  readReferences(): Promise<void>;
  /**
   * Looks at what the policy of a signed directory (null: it has none) would do, before others wait for it to be adopted.
   * @param references as the directory leaves them
   * @throws PolicyError
   */
  judge(policy: DeclaredPolicy | null, references: readonly Reference[]): Promise<void>;
  /**
   * Puts the policy of a signed directory in force (null: it has none) with what `store` stores; the old one where it throws.
   * @throws PolicyError
   */
  adopt(policy: DeclaredPolicy | null, store: () => Promise<void>): Promise<void>;
  /** The report on a part that is read again outside SIGHUP. */
  readonly told: ReloadTold;
  /** Keeps the policy in force as the one below which no other may go, and then stores the latch: no policy comes in between. */
  latch(store: () => Promise<void>): Promise<void>;
  readonly history: PolicyHistoryPorts;
  /** Called when other rules are in force: every node is to be judged by them. */
  onChange(listener: () => void): void;
  /** How all that can be read again is read: the policy, and the parts of other rooms. */
  reloader(others: Omit<ReloadedParts, 'policy'>): () => Promise<void>;
  /** Parts that were faulty when they were last read. */
  faulty(): readonly FaultyPart[];
}

/** @throws PolicyError with every fault of the policy's file; Error for a trial on a database that has the latch */
export async function openInForce(parts: InForceParts): Promise<RulesInForce> {
  const { policy: name, trial, declared, methods, store, presence, latched, bundle, contextOf } = parts;
  const { labelsOf, now, monotonic, logger, report } = parts;
  const closing = new AbortController();
  const reloads = createReloads({
    now,
    logger,
    notReloaded: (part, text) => report.notReloaded(part, text),
    signal: closing.signal,
  });
  const keep = ({ policy: { text }, source }: SourcedPolicy) => latched.keep({ source, text });
  const latch = await latched.read();
  if (trial && latch !== null) throw new Error(latchedOnTrial);
  const asHeld = (policy: Policy) => (trial ? underTrial(policy) : policy);
  const history = await openPolicyHistory({ store: store.policies, asHeld, now, logger });
  const policy = () => current.policy;
  const { refusedShare } = parts;
  const trials = createTrials({
    store,
    presence,
    bundle,
    latched,
    policy,
    asHeld,
    labelsOf,
    methods,
    refusedShare,
    now,
  });
  const refusal = createPolicyRefusal({
    share: refusedShare,
    compare: trials.compare,
    status: store.verdicts.status,
    allowanceFor: history.allowanceFor,
    monotonic,
    logger,
    fault: report.fault,
  });
  /** The policy of the settings, or the one that a directory declares in its place. */
  const read = async (its: DeclaredPolicy | null) =>
    history.inPlaceOf({
      policy: asHeld(await readPolicy(name, its, methods, logger)),
      source: sourceOf(name, its),
    });
  const patience = () => AbortSignal.any([closing.signal, AbortSignal.timeout(parts.startWithin)]);

  const started = await firstPolicy({
    given: await read(declared()),
    latched: latch,
    last: history.last,
    check: (before, next) => refusal.check(before, next, null, patience()),
    logger,
  });
  const { first } = started;
  if (latch !== null && latch.policy?.text !== first.policy.text) await keep(first);
  // A full disk keeps no server from starting: what is not kept now is at the next start.
  if (started.isNew)
    await history.entered(first, 'start').catch((error: unknown) => report.fault(error, 'kept policies'));
  let current = new InForce(first.policy, await store.references.list(), contextOf, now());
  let inForceFrom = first.source;
  report.policyInForce(first.policy);
  if (started.refused !== null) reloads.told.notReloaded('policy', started.refused);
  if (started.nodes !== null) report.policyCompared(first.policy, started.nodes);
  const earlier = new EarlierRules({ context: parts.context, contextOf, asHeld, fault: report.fault });
  const listeners: (() => void)[] = [];
  // Else references that were read before one was revoked could take the place of those that were read after it.
  const oneByOne = pLimit(1);
  const putInForce = async (next: SourcedPolicy | null, before: Policy) => {
    earlier.note(current);
    const since = next === null || next.policy.revision === before.revision ? current.since : now();
    current = new InForce(next?.policy ?? before, await store.references.list(), contextOf, since);
    if (next !== null) {
      inForceFrom = next.source;
      report.policyInForce(next.policy);
    }
    for (const listener of listeners) listener();
  };
  const checkLatch = async ({ policy, source }: SourcedPolicy, before: Policy) => {
    const latch = await latched.read();
    if (latch !== null) checkLatched(policy, source, latch.groups, before);
    return latch;
  };
  /**
   * Puts the policy that is given in force with what `storeIt` stores. It is compared before its turn: a revocation must not
   * wait for that.
   */
  const readAndPut = async (
    came: PolicyArrival,
    given: () => DeclaredPolicy | null,
    storeIt: () => Promise<void>,
  ) => {
    for (let isDone = false; !isDone; ) {
      const [its, before] = [given(), current.policy];
      const next = await read(its);
      await checkLatch(next, before);
      const nodes = await refusal.check(before, next, null, closing.signal);
      isDone = await oneByOne(async () => {
        // Another one came into force meanwhile, or a directory holds another one than it did.
        if (current.policy !== before || given()?.text !== its?.text) return false;
        const latch = await checkLatch(next, before);
        await storeIt();
        if (latch !== null) await keep(next);
        await history.entered(next, came);
        await putInForce(next, before);
        if (nodes !== null) report.policyCompared(next.policy, nodes);
        return true;
      });
    }
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
    async judge(its, references) {
      if (its === null && declared() === null) return;
      const next = await read(its);
      const signal = reloads.hasBegun() ? closing.signal : patience();
      await refusal.checkAhead(current.policy, next, references, signal).catch((error: unknown) => {
        throw isTimeout(error) ? new PolicyError(next.source, [comparedLater]) : error;
      });
    },
    async adopt(its, storeIt) {
      // One without a policy leaves that of the settings, which counts again where the one before had one.
      if (its !== null || declared() !== null) return readAndPut('directory', () => its, storeIt);
      await oneByOne(async () => {
        await storeIt();
        await putInForce(null, current.policy);
      });
    },
    told: reloads.told,
    latch: (storeIt) =>
      oneByOne(async () => {
        await keep({ policy: current.policy, source: inForceFrom });
        await storeIt();
      }),
    history: {
      list: history.list,
      kept: history.kept,
      rollback: history.rollback,
      comparing: refusal.comparing,
      goBack: (digits, word) =>
        oneByOne(async () => {
          const before = current.policy;
          const kept = await history.kept(digits);
          if (kept.text === before.text) throw new NotNow(`${policyLabel(before)} is in force already`);
          const { source } = kept;
          const to = { policy: asHeld(parsePolicy(kept.text, source, methods)), source };
          const latch = await checkLatch(to, before);
          await history.goBack(to, before, word);
          if (latch !== null) await keep(to);
          await putInForce(to, before);
          return { before, now: to.policy };
        }),
      async allow(digits, word) {
        if (digestOf(current.policy).startsWith(digits))
          throw new NotNow(`${policyLabel(current.policy)} is in force already`);
        const waiting = reloads.faulty().find(({ refused }) => refused?.digest.startsWith(digits));
        const digest = waiting?.refused?.digest ?? digits;
        await history.allow(digest, word);
        if (waiting !== undefined) await reloads.again(waiting.part);
        const still = reloads.faulty().find(({ part }) => part === waiting?.part);
        return { digest, isInForce: digestOf(current.policy) === digest, refused: still?.text ?? null };
      },
    },
    onChange: (listener) => void listeners.push(listener),
    faulty: reloads.faulty,
    reloader(others) {
      const policyAgain = () => readAndPut('reload', declared, async () => {});
      reloads.begin({ ...others, policy: policyAgain });
      if (started.isUndecided) void reloads.again('policy');
      return reloads.all;
    },
    async [Symbol.asyncDispose]() {
      closing.abort();
      await reloads.idle();
      await oneByOne(() => {});
    },
  };
}

const comparedLater = {
  line: 1,
  field: 'policy',
  text: 'the comparison with the one in force takes longer than a start waits: it is made again within minutes',
};

const latchedOnTrial =
  'trust is enabled for good on this database, and a server on trial trusts nobody: leave trial (ASSAY_TRIAL) out, or name another stateDir (ASSAY_STATE_DIR)';
