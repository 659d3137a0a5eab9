import { createSimulation, notSimulated, type SimulatedNode } from '../policy/draft/simulation.ts';
import type { Policy } from '../policy/policy.ts';
import type { Reference } from '../protocol/reference.ts';
import { type KeptProofPorts, overKeptProofs, type Page, type Paged } from './kept-proofs.ts';

export interface SimulatePorts extends KeptProofPorts {
  references(): Promise<readonly Reference[]>;
  labelsOf(node: string): Readonly<Record<string, string>>;
  /** The policy in force. */
  policy(): Policy;
  /** Milliseconds since the epoch. */
  now(): number;
}

/** Judges the kept evidence of a page of nodes by the policy in force and by another one. Nothing is stored. */
export async function simulate(
  ports: SimulatePorts,
  policy: Policy,
  page: Page,
): Promise<Paged<SimulatedNode>> {
  const at = ports.now();
  const references = await ports.references();
  const judge = createSimulation({ policy: ports.policy(), references }, { policy, references });
  return overKeptProofs(ports, page, (kept) => {
    const { name } = kept.node;
    if (kept.proven === null) return notSimulated(name, kept.note);
    return judge(
      kept.proven,
      kept.bundle,
      { name, labels: ports.labelsOf(name), tpmClass: kept.node.tpmClass },
      at,
    );
  });
}
