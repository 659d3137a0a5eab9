import type { Attestation } from '../attest/attestation.ts';
import type { EnrolmentStore } from '../enrolment/ports.ts';
import type { EvidenceStore } from '../evidence/ports.ts';
import { unpackEvidence } from '../evidence/unpack.ts';
import type { ReferenceStore } from '../references/ports.ts';
import type { ApiPorts, HistoryStore, ShownStore } from './ports.ts';

/** What the API and the metrics show of the store. */
export function shownStore(
  store: {
    readonly enrolment: Pick<EnrolmentStore, 'node' | 'nodes'>;
    readonly verdicts: HistoryStore;
    readonly references: Pick<ReferenceStore, 'list'>;
  },
  attestation: Pick<Attestation, 'status' | 'statuses'>,
): ShownStore {
  const { enrolment, verdicts, references } = store;
  return {
    node: (name) => enrolment.node(name),
    nodes: () => enrolment.nodes(),
    history: (name, page) => verdicts.history(name, page),
    references: () => references.list(),
    // The deadlines of a server that was down are extended in memory, so the states are too.
    status: async (name) => attestation.status(name),
    statuses: async () => attestation.statuses(),
  };
}

/** Gives a node's evidence as a bundle: the latest, or that of one verdict. */
export function bundles(
  kept: Pick<EvidenceStore, 'read'>,
  attestation: Pick<Attestation, 'status'>,
): ApiPorts['bundle'] {
  return async (node, evidence) => {
    const digest = evidence ?? attestation.status(node)?.evidenceDigest ?? null;
    if (digest === null) return null;
    const found = await unpackEvidence(digest, (each) => kept.read(each, node));
    return found?.context?.node === node ? found : null;
  };
}
