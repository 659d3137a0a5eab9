import { type Observation, observe } from '../policy/observation.ts';
import { type KeptProofPorts, overKeptProofs, type Page, type Paged } from './kept-proofs.ts';

/** What the kept evidence of a page of nodes tells of them; `unseen` are those of which there is none. */
export async function observeKept(
  ports: KeptProofPorts,
  page: Page,
): Promise<Paged<Observation> & { readonly unseen: readonly string[] }> {
  const unseen: string[] = [];
  const { items, next } = await overKeptProofs(ports, page, (kept) => {
    if (kept.proven !== null) return [observe(kept.proven, kept.node)];
    unseen.push(kept.node.name);
    return [];
  });
  return { items: items.flat(), unseen, next };
}
