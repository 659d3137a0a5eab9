import type { EvidenceRoom } from '../evidence/open.ts';
import type { Context } from '../evidence/pack.ts';
import { type Appraiser, createAppraiser } from '../policy/appraise.ts';
import { groupOf, labelsThatCount, type Policy, type PolicyGroup } from '../policy/policy.ts';
import type { Reference } from '../protocol/reference.ts';

/** What verdicts are made by at present: one policy and the references of one moment, made ready once. */
export class InForce {
  readonly policy: Policy;
  readonly appraise: Appraiser;
  /** What is kept of both beside each answer. */
  readonly context: Context;
  readonly #references: readonly Reference[];

  constructor(policy: Policy, references: readonly Reference[], contextOf: EvidenceRoom['contextOf']) {
    this.policy = policy;
    this.appraise = createAppraiser(policy, references);
    this.context = contextOf(policy.text, references);
    this.#references = references;
  }

  /** The latest reference of this group that waits for an approval; null where none does. */
  stagedFor(group: string): string | null {
    const staged = this.#references.filter((each) => each.state === 'staged' && each.group === group);
    return staged.toSorted(byCapture).at(-1)?.name ?? null;
  }

  groupOf(
    node: string,
    inCluster: Readonly<Record<string, string>>,
  ): { readonly group: PolicyGroup; readonly labels: Readonly<Record<string, string>> } {
    const labels = labelsThatCount(this.policy, inCluster);
    return { group: groupOf(this.policy, node, labels), labels };
  }
}

/** One that was not captured here comes first. */
function byCapture(a: Reference, b: Reference): number {
  return (a.captured?.at ?? '') < (b.captured?.at ?? '') ? -1 : 1;
}
