import type { NodeStatus, VerdictStore } from '../attest/ports.ts';
import type { EnrolmentStore } from '../enrolment/ports.ts';
import type { Bundle } from '../formats/bundle.ts';
import type { FaultCause } from '../formats/server-fault.ts';
import type { ReferenceStore } from '../references/ports.ts';
import type { ApiPorts, HistoryStore, ShownStore } from './ports.ts';
import { HttpProblem } from './problem.ts';

/** Latest statuses of nodes, as the server has them in memory. */
export interface Statuses {
  status(name: string): NodeStatus | null;
  statuses(): readonly NodeStatus[];
  /** Why the node's latest answer failed, if that was a fault of ours; otherwise null. */
  serverFault(name: string): FaultCause | null;
}

/** The store as the API and the metrics show it. */
export function shownStore(
  store: {
    readonly enrolment: Pick<EnrolmentStore, 'node' | 'nodes'>;
    readonly verdicts: HistoryStore & Pick<VerdictStore, 'archivedStatus'>;
    readonly references: Pick<ReferenceStore, 'list'>;
  },
  inMemory: Statuses,
): ShownStore {
  const { enrolment, verdicts, references } = store;
  return {
    node: (name) => enrolment.node(name),
    nodes: () => enrolment.nodes(),
    history: (name, page) => verdicts.history(name, page),
    transitions: (name, limit) => verdicts.transitions(name, limit),
    references: () => references.list(),
    // The deadlines of a server that was down are extended in memory, so the states are too.
    status: async (name) => inMemory.status(name) ?? verdicts.archivedStatus(name),
    statuses: async () => inMemory.statuses(),
    serverFault: (name) => inMemory.serverFault(name),
  };
}

/** Hex digits of a SHA-256. */
const wholeDigest = 64;

/** Gives a node's evidence as a bundle: the latest, or that of one verdict by the first digits of its digest. */
export function latestOr(
  byDigest: (node: string, digest: string) => Promise<Bundle | null>,
  named: (node: string, digits: string) => Promise<readonly string[]>,
  inMemory: Pick<Statuses, 'status'>,
): ApiPorts['bundle'] {
  const latestOf = (node: string) => inMemory.status(node)?.evidenceDigest ?? null;
  const latest = async (node: string) => {
    const digest = latestOf(node);
    const found = digest === null ? null : await byDigest(node, digest);
    if (found !== null) return found;
    // A verdict that comes meanwhile takes the place of what was the latest.
    const later = latestOf(node);
    return later === null || later === digest ? null : byDigest(node, later);
  };
  return async (node, digits) => {
    if (digits === null) return latest(node);
    const exact = digits.length === wholeDigest ? await byDigest(node, digits) : null;
    if (exact !== null) return exact;
    const status = inMemory.status(node);
    const whole = new Set(await named(node, digits));
    if (status?.evidenceDigest?.startsWith(digits)) whole.add(status.evidenceDigest);
    const [digest, another] = whole;
    if (another !== undefined)
      throw new HttpProblem(
        400,
        `several pieces of evidence of ${node} begin with ${digits}: give more digits`,
      );
    if (digest !== undefined) return byDigest(node, digest);
    // Reasons name a part of the evidence, too: a boot log.
    const parts = Object.values(status?.parts ?? {});
    return parts.some((part) => part.startsWith(digits)) ? latest(node) : null;
  };
}
