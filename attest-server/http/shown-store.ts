import type { Attestation } from '../attest/attestation.ts';
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
