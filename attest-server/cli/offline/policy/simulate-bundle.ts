import { basename } from 'node:path';
import { parseBundle } from '../../../formats/bundle.ts';
import { atOnce } from '../../../formats/in-steps.ts';
import type { Reference } from '../../../formats/reference.ts';
import { createSimulation, notSimulated, type SimulatedNode } from '../../../policy/draft/simulation.ts';
import type { Policy } from '../../../policy/policy.ts';
import { verifyBundleEvidence } from '../../../verify/bundle-evidence.ts';
import { Rejection } from '../../../wire/rejection.ts';
import { checkEndorsementOf } from '../verify/endorsement-chain.ts';
import { contextPolicy, contextReferences } from '../verify/verify.ts';

/**
 * One exported bundle under the policy that its exporter names and under another one. Its identity is what the
 * exporter says, as there are no roots here.
 * @param references null: those that the bundle carries
 * @param at milliseconds since the epoch; references expire by it
 */
export function simulateBundle(
  text: string,
  path: string,
  policy: Policy,
  references: readonly Reference[] | null,
  at: number,
): SimulatedNode {
  const name = basename(path, '.json');
  try {
    const bundle = parseBundle(text);
    const proven = verifyBundleEvidence(bundle, checkEndorsementOf(bundle, null, at).ekDigest);
    const node = proven.facts?.node ?? bundle.context?.node ?? name;
    const known = references ?? contextReferences(bundle);
    const was = contextPolicy(bundle);
    const before = was === null ? null : { policy: was, references: known };
    const judge = createSimulation(before, { policy, references: known });
    const { labels = {}, tpmClass = 'unknown' } = bundle.context ?? {};
    return atOnce(judge(proven, bundle, { name: node, labels, tpmClass }, at));
  } catch (error) {
    if (!(error instanceof Rejection)) throw error;
    return notSimulated(name, `it cannot be judged: ${error.code}: ${error.message}`);
  }
}
