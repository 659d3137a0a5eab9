import { setImmediate } from 'node:timers/promises';
import type { Logger } from 'pino';
import type { NodeStatus } from '../attest/ports.ts';
import { policyLabel, revisionOf } from '../formats/policy-label.ts';
import type { Reference } from '../formats/reference.ts';
import { canLoseTrust, losesTooMany, turnsUntrusted } from '../formats/trust-loss.ts';
import type { SimulatedNode } from '../policy/draft/simulation.ts';
import { PolicyError } from '../policy/file/policy-error.ts';
import type { Policy } from '../policy/policy.ts';
import { shellWord } from '../wire/advice.ts';
import { digestOf, type PolicyHistory, type SourcedPolicy } from './policy-history.ts';
import type { Trials } from './trials.ts';

export interface PolicyRefusalParts {
  /** Which share of the trusted nodes a policy may make untrusted; 1: all of them. */
  readonly share: number;
  readonly compare: Trials['compare'];
  readonly status: (node: string) => Promise<Pick<NodeStatus, 'state' | 'sequence'> | null>;
  readonly allowanceFor: PolicyHistory['allowanceFor'];
  /** Milliseconds of a monotonic clock. */
  readonly monotonic: () => number;
  readonly logger: Logger;
  readonly fault: (error: unknown, where: string) => void;
}

/** A policy that was refused for what it would do. */
export interface RefusedPolicy {
  /** `name@revision`. */
  readonly policy: string;
  /** SHA-256 of its text, hex. */
  readonly digest: string;
  /** Trusted nodes that it does not merely observe. */
  readonly trusted: number;
  /** How many of these it would make untrusted. */
  readonly untrusted: number;
  /** The first of their names. */
  readonly nodes: readonly string[];
}

/** It would take the trust of so many nodes that this is rather a slip; or nobody can tell whether it would. */
export class PolicyRefused extends PolicyError {
  readonly refused: RefusedPolicy;

  constructor(file: string, refused: RefusedPolicy, why: string) {
    const { policy, digest } = refused;
    const revision = revisionOf(digest);
    const see = `see which nodes and why: assay policy simulate ${shellWord(file)}`;
    const force = `force ${policy} alone: assay policy allow ${revision} --reason …`;
    super(file, [{ line: 1, field: 'policy', text: `${why}; ${see}; ${force}` }], 'untrusts_many');
    this.refused = refused;
  }
}

/** The policy that is being compared, before it comes into force. */
export interface PolicyComparison {
  /** `name@revision`. */
  readonly policy: string;
  /** Nodes so far. */
  readonly judged: number;
}

/** The outcome of a policy on each node's latest evidence; null: it was not looked at. */
export type PolicyOutcome = readonly SimulatedNode[] | null;

export interface PolicyRefusal {
  /**
   * The outcome of the policy on each node's latest evidence, unless that speaks against it.
   * @param references by which both are judged; null: those in the store
   * @throws PolicyRefused; the reason that aborted it
   */
  check(
    before: Policy,
    next: SourcedPolicy,
    references: readonly Reference[] | null,
    signal: AbortSignal,
  ): Promise<PolicyOutcome>;
  /**
   * The same before it is this policy's turn: the check that follows goes by its answer. What is refused is compared once a
   * minute at most. Attack: who may write a signed directory, and has no key, has it read again and again.
   */
  checkAhead(...check: Parameters<PolicyRefusal['check']>): Promise<void>;
  comparing(): PolicyComparison | null;
}

/** Milliseconds for which a refusal of a signed directory holds without another comparison. */
const refusedFor = 60_000;
/** Names in a refusal. */
const mostNamed = 5;
/** Nodes between two turns of others. */
const othersBetween = 20;
/** Nodes between two lines of the log. */
const progressEvery = 1000;

export function createPolicyRefusal(parts: PolicyRefusalParts): PolicyRefusal {
  const { share, compare, status, allowanceFor, monotonic, logger, fault } = parts;
  let comparing: PolicyComparison | null = null;
  let refusedAhead: { readonly before: Policy; readonly error: PolicyRefused; readonly at: number } | null =
    null;
  let ahead: { readonly before: Policy; readonly text: string; readonly nodes: PolicyOutcome } | null = null;

  /**
   * The nodes whose trust a policy can take. Attack: nodes that lie must not outvote the others, so whose latest proof
   * counts for nothing has no voice.
   */
  const trustedOf = async (nodes: readonly SimulatedNode[]) => {
    const voices: SimulatedNode[] = [];
    for (const [index, node] of nodes.entries()) {
      if (index % othersBetween === 0) await setImmediate();
      if (!canLoseTrust(node)) continue;
      const now = await status(node.node);
      if (now === null || now.sequence?.held != null) continue;
      // Whoever is silent was trusted before, and comes back.
      if (now.state === 'trusted' || now.state === 'unknown') voices.push(node);
    }
    return voices;
  };
  const compared = async (
    ...[before, { policy, source }, references, signal]: Parameters<PolicyRefusal['check']>
  ) => {
    const name = policyLabel(policy);
    let logged = 0;
    const progress = (judged: number) => {
      comparing = { policy: name, judged };
      if (judged < logged + progressEvery) return;
      logged = judged;
      logger.info(
        { policy: name, before: policyLabel(before), judged },
        'a policy is compared with the one in force before it takes its place',
      );
    };
    progress(0);
    try {
      return await compare(before, policy, references, signal, progress);
    } catch (error) {
      if (signal.aborted) throw error;
      fault(error, 'comparison of policies');
      const refused = { policy: name, digest: digestOf(policy), trusted: 0, untrusted: 0, nodes: [] };
      throw new PolicyRefused(
        source,
        refused,
        'nobody can tell what it does to nodes: the comparison failed',
      );
    } finally {
      comparing = null;
    }
  };
  const refusal: PolicyRefusal = {
    comparing: () => comparing,
    async checkAhead(before, next, references, signal) {
      ahead = null;
      const { policy } = next;
      const known = refusedAhead;
      const isKnown =
        known?.before === before &&
        known.error.refused.digest === digestOf(policy) &&
        monotonic() - known.at < refusedFor &&
        (await allowanceFor(policy)) === null;
      if (isKnown) throw known.error;
      const nodes = await refusal.check(before, next, references, signal).catch((error: unknown) => {
        if (error instanceof PolicyRefused) refusedAhead = { before, error, at: monotonic() };
        throw error;
      });
      ahead = { before, text: next.policy.text, nodes };
    },
    async check(before, next, references, signal) {
      const { policy, source } = next;
      const known = ahead;
      ahead = null;
      if (known?.before === before && known.text === policy.text) return known.nodes;
      if (policy.text === before.text || (await allowanceFor(policy)) !== null) return null;
      const nodes = await compared(before, next, references, signal);
      const trusted = await trustedOf(nodes);
      const untrusted = trusted.filter(turnsUntrusted);
      if (!losesTooMany(untrusted.length, trusted.length, share)) return nodes;
      if ((await allowanceFor(policy)) !== null) return nodes;
      const refused = {
        policy: policyLabel(policy),
        digest: digestOf(policy),
        trusted: trusted.length,
        untrusted: untrusted.length,
        nodes: untrusted.slice(0, mostNamed).map(({ node }) => node),
      };
      const more = untrusted.length > mostNamed ? ', …' : '';
      const why = `it would make ${untrusted.length} of ${trusted.length} trusted nodes untrusted (${refused.nodes.join(', ')}${more})`;
      throw new PolicyRefused(source, refused, why);
    },
  };
  return refusal;
}

/** Whether a comparison ended because nobody waits longer. */
export function isTimeout(error: unknown): boolean {
  return error instanceof DOMException && error.name === 'TimeoutError';
}

/** The policy that was refused; null if something else is wrong. A directory says it with words of its own. */
export function refusedIn(error: unknown): RefusedPolicy | null {
  if (error instanceof PolicyRefused) return error.refused;
  return error instanceof Error && error.cause instanceof PolicyRefused ? error.cause.refused : null;
}
