import { PolicyError, type PolicyFault } from '../../../policy/file/policy-error.ts';
import { checkLatched, parsePolicy } from '../../../policy/file/policy-file.ts';
import { enrolments, type Policy } from '../../../policy/policy.ts';
import { policyView } from '../../../protocol/api.ts';
import { clusterView } from '../../../protocol/cluster-api.ts';
import type { Client } from '../../client.ts';

/** Where the latch of a server would refuse this policy after the one that is in force there; null: nowhere. */
export async function latchFaults(
  client: Client,
  policy: Policy,
  file: string,
): Promise<readonly PolicyFault[] | null> {
  const { latch } = await client.get('/v1/cluster', clusterView);
  if (latch === null) return null;
  const { name, text } = await client.get('/v1/policy', policyView);
  try {
    checkLatched(policy, file, latch.groups, parsePolicy(text, name, enrolments));
    return null;
  } catch (error) {
    if (error instanceof PolicyError) return error.faults;
    throw error;
  }
}
