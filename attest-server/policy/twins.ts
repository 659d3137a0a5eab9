import type { Finding } from './finding.ts';

/** @param twins the other nodes that have it */
export function sharedTpm(name: string, twins: readonly string[]): Finding {
  const others = twins.slice(0, mostShown).join(', ');
  return {
    code: 'ek_already_bound',
    aspect: 'identity',
    source: 'server',
    expected: 'one node for one TPM',
    actual: others,
    text: `${name} and ${others} have the same TPM: revoke the enrolment of each one that is not that machine.`,
    evidence: null,
  };
}

const mostShown = 8;
