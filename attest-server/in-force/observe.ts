import { inSteps } from '../formats/in-steps.ts';
import type { Reference } from '../formats/reference.ts';
import { likeReferences, type Observation, observe } from '../policy/draft/observation.ts';
import { postureObserver } from '../policy/draft/posture.ts';
import { groupOf, type Policy } from '../policy/policy.ts';
import { type KeptProofPorts, type NodeRange, overKeptProofs, type Paged } from './kept-proofs.ts';
import type { SimulatePorts } from './simulate.ts';

export interface ObservePorts extends KeptProofPorts, Pick<SimulatePorts, 'labelsOf' | 'now'> {
  references(): Promise<readonly Reference[]>;
  /** The policy in force. */
  policy(): Policy;
}

/** Observations from the kept evidence of a page of nodes; `unseen` are those without any. */
export async function observeKept(
  ports: ObservePorts,
  page: NodeRange,
): Promise<Paged<Observation> & { readonly unseen: readonly string[] }> {
  const unseen: string[] = [];
  const references = await ports.references();
  const postureOf = postureObserver(references, ports.now());
  const likeOf = likeReferences(references, ports.now());
  const { items, next } = await overKeptProofs(ports, page, async (kept) => {
    if (kept.proven !== null) {
      const { name } = kept.node;
      const group = groupOf(ports.policy(), name, ports.labelsOf(name));
      const posture = await inSteps(postureOf(kept.proven, name, group));
      return [observe(kept.proven, kept.node, likeOf(kept.proven, name, group), posture)];
    }
    unseen.push(kept.node.name);
    return [];
  });
  return { items: items.flat(), unseen, next };
}
