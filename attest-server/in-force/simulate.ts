import { inSteps } from '../formats/in-steps.ts';
import type { AppraisedNode } from '../policy/appraise.ts';
import {
  createSimulation,
  notSimulated,
  type SimulatedNode,
  type SimulationInputs,
} from '../policy/draft/simulation.ts';
import type { Proven } from '../verify/proven.ts';
import { type KeptProofPorts, type NodeRange, overKeptProofs, type Paged } from './kept-proofs.ts';

export interface SimulatePorts extends KeptProofPorts {
  labelsOf(node: string): Readonly<Record<string, string>>;
  /** Milliseconds since the epoch. */
  now(): number;
}

/**
 * Judges the kept evidence of a page of nodes by what is in force and by something else. Nothing is stored.
 * @param seen told of each proof, too
 */
export async function simulate(
  ports: SimulatePorts,
  { before, after }: { readonly before: SimulationInputs; readonly after: SimulationInputs },
  page: NodeRange,
  seen: (proven: Proven, node: Omit<AppraisedNode, 'past'>) => Promise<void> = async () => {},
): Promise<Paged<SimulatedNode>> {
  const at = ports.now();
  const judge = createSimulation(before, after);
  return overKeptProofs(ports, page, async (kept) => {
    const { name } = kept.node;
    if (kept.proven === null) return notSimulated(name, kept.note);
    const known = ports.labelsOf(name);
    // At a start the cluster has not said them yet.
    const labels = Object.keys(known).length > 0 ? known : (kept.bundle.context?.labels ?? known);
    const node = { name, labels, tpmClass: kept.node.tpmClass };
    await seen(kept.proven, node);
    return inSteps(judge(kept.proven, kept.bundle, node, at));
  });
}
