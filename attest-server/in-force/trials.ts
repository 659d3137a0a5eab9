import pLimit from 'p-limit';
import type { Attestation } from '../attest/attestation.ts';
import type { EnrolmentStore } from '../enrolment/ports.ts';
import type { EvidenceStore } from '../evidence/ports.ts';
import type { PolicyPorts } from '../http/ports.ts';
import { HttpProblem } from '../http/problem.ts';
import { parsePolicy } from '../policy/file/policy-file.ts';
import type { Enrolment } from '../policy/policy.ts';
import type { ReferenceStore } from '../references/ports.ts';
import { observeKept } from './observe.ts';
import { simulate } from './simulate.ts';

export interface PolicyPortsParts {
  readonly enrolment: Pick<EnrolmentStore, 'nodes'>;
  readonly evidence: Pick<EvidenceStore, 'read'>;
  readonly references: Pick<ReferenceStore, 'list'>;
  readonly attestation: Pick<Attestation, 'policy' | 'status'>;
  readonly labelsOf: (node: string) => Readonly<Record<string, string>>;
  /** By which nodes can enrol at this server. */
  readonly ways: readonly Enrolment[];
  /** Milliseconds since the epoch. */
  readonly now: () => number;
}

/** Callers that wait for their turn; more of them are told to come again. */
const mostWaiting = 8;

/** Answers questions about policies, one after the other: each judges evidence anew, and challenges come first. */
export function createPolicyPorts(parts: PolicyPortsParts): PolicyPorts {
  const { enrolment, evidence, references, attestation, labelsOf, ways, now } = parts;
  const oneByOne = pLimit(1);
  let waiting = 0;
  const inTurn = <T>(work: () => Promise<T>): Promise<T> => {
    if (waiting >= mostWaiting)
      throw new HttpProblem(429, 'others ask about policies at present; try again in a moment', {
        headers: { 'retry-after': '2' },
      });
    waiting += 1;
    return oneByOne(work).finally(() => {
      waiting -= 1;
    });
  };
  const ports = {
    nodes: () => enrolment.nodes(),
    evidence: (digest: string, node: string) => evidence.read(digest, node),
    evidenceDigest: (node: string) => attestation.status(node)?.evidenceDigest ?? null,
    references: () => references.list(),
    policy: () => attestation.policy,
    ...{ labelsOf, now },
  };
  return {
    async simulate({ text, file }, page) {
      const policy = parsePolicy(text, file, ways);
      return inTurn(() => simulate(ports, policy, page));
    },
    observations: async (page) => inTurn(() => observeKept(ports, page)),
  };
}
