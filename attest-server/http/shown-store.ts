import type { Attestation } from '../attest/attestation.ts';
import { unpackEvidence } from '../evidence/unpack.ts';
import type { Store } from '../store/store.ts';
import type { ApiPorts } from './ports.ts';

/** What the API and the metrics show of the store. */
export function shownStore(
  store: Store,
  attestation: Pick<Attestation, 'status' | 'statuses'>,
): ApiPorts['store'] {
  return {
    node: (name) => store.node(name),
    nodes: () => store.nodes(),
    history: (name, page) => store.history(name, page),
    references: () => store.references(),
    // The deadlines of a server that was down are extended in memory, so the states are too.
    status: async (name) => attestation.status(name),
    statuses: async () => attestation.statuses(),
  };
}

/** Gives a node's evidence as a bundle: the latest, or that of one verdict. */
export function bundles(store: Store, attestation: Pick<Attestation, 'status'>): ApiPorts['bundle'] {
  return async (node, evidence) => {
    const digest = evidence ?? attestation.status(node)?.evidenceDigest ?? null;
    if (digest === null) return null;
    const found = await unpackEvidence(digest, (each) => store.evidence(each, node));
    return found?.context?.node === node ? found : null;
  };
}
