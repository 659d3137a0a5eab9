import type { EvidenceRoom } from '../evidence/open.ts';
import type { Context } from '../evidence/pack.ts';
import type { Reference } from '../formats/reference.ts';
import { type Appraiser, createAppraiser } from '../policy/appraise.ts';
import { askedPaths } from '../policy/aspects.ts';
import { groupOf, labelsThatCount, type Policy, type PolicyGroup, unmatched } from '../policy/policy.ts';

/** Who answers for a reference, and since when (RFC 3339). */
export interface Affirmation {
  readonly by: string;
  readonly at: string;
}

/** The basis of verdicts at present: one policy and the references of one moment, prepared once. */
export class InForce {
  readonly policy: Policy;
  readonly appraise: Appraiser;
  /** The record of both that is kept beside each answer. */
  readonly context: Context;
  /** Since when this policy is in force here, milliseconds since the epoch. */
  readonly since: number;
  /** In every state, by name. */
  readonly references: ReadonlyMap<string, Pick<Reference, 'state' | 'changed'>>;
  readonly #affirming: ReadonlyMap<string, Affirmation | null>;
  readonly #declared: ReadonlySet<string>;
  readonly #labels: ReadonlySet<string>;
  readonly #paths: ReadonlyMap<PolicyGroup, readonly string[]>;

  constructor(
    policy: Policy,
    references: readonly Reference[],
    contextOf: EvidenceRoom['contextOf'],
    since = 0,
  ) {
    this.policy = policy;
    this.since = since;
    this.appraise = createAppraiser(policy, references);
    this.context = contextOf(policy.text, references);
    this.references = new Map(references.map(({ name, state, changed }) => [name, { state, changed }]));
    this.#affirming = new Map(references.map((reference) => [reference.name, affirming(reference)]));
    this.#declared = new Set(
      references.flatMap(({ name, declared }) => (declared === undefined ? [] : [name])),
    );
    this.#labels = labelsThatCount(policy);
    this.#paths = new Map([...policy.groups, unmatched].map((group) => [group, askedPaths(group.rules)]));
  }

  affirmedBy(reference: string): Affirmation | null {
    return this.#affirming.get(reference) ?? null;
  }

  /** Names of references that were in force there and are not here, or are revoked here alone. */
  without({ references }: InForce): readonly string[] {
    const lost = [...references].flatMap(([name, { state }]) =>
      state === 'active' && this.references.get(name)?.state !== 'active' ? [name] : [],
    );
    const bad = [...this.references].flatMap(([name, { state }]) =>
      state === 'revoked' && references.get(name)?.state !== 'revoked' ? [name] : [],
    );
    return [...new Set([...bad, ...lost])];
  }

  /** Whether a signed directory says what the reference of this name is. */
  isDeclared(reference: string): boolean {
    return this.#declared.has(reference);
  }

  groupOf(
    node: string,
    inCluster: Readonly<Record<string, string>>,
  ): { readonly group: PolicyGroup; readonly labels: Readonly<Record<string, string>> } {
    const labels = this.#thatCount(inCluster);
    return { group: groupOf(this.policy, node, labels), labels };
  }

  /** The paths of a node that the rules of its group speak of. */
  pathsOf(group: PolicyGroup): readonly string[] {
    return this.#paths.get(group) ?? askedPaths(group.rules);
  }

  #thatCount(labels: Readonly<Record<string, string>>): Readonly<Record<string, string>> {
    if (this.#labels.size === 0) return noLabels;
    return Object.fromEntries(Object.entries(labels).filter(([key]) => this.#labels.has(key)));
  }
}

const noLabels: Readonly<Record<string, string>> = {};

/** Who put it in force; of one that nobody approved, who captured it. */
function affirming({ changed, captured }: Reference): Affirmation | null {
  return changed?.action === 'approve' || changed?.action === 'restore' ? changed : (captured ?? null);
}
