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
    text: `The TPM of ${name} is also that of ${others}: revoke the enrolment of whichever is not that machine.`,
    evidence: null,
  };
}

const mostShown = 8;
