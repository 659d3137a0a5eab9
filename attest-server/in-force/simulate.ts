import {
  type Basis,
  createSimulation,
  notSimulated,
  type SimulatedNode,
} from '../policy/draft/simulation.ts';
import { type KeptProofPorts, overKeptProofs, type Page, type Paged } from './kept-proofs.ts';

export interface SimulatePorts extends KeptProofPorts {
  labelsOf(node: string): Readonly<Record<string, string>>;
  /** Milliseconds since the epoch. */
  now(): number;
}

/** Judges the kept evidence of a page of nodes by what is in force and by something else. Nothing is stored. */
export async function simulate(
  ports: SimulatePorts,
  { before, after }: { readonly before: Basis; readonly after: Basis },
  page: Page,
): Promise<Paged<SimulatedNode>> {
  const at = ports.now();
  const judge = createSimulation(before, after);
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
