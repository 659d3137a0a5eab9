import { policyView } from '../../../api/api.ts';
import { clusterView } from '../../../api/cluster-api.ts';
import { PolicyError, type PolicyFault } from '../../../policy/file/policy-error.ts';
import { checkLatched, parsePolicy } from '../../../policy/file/policy-file.ts';
import { enrolments, type Policy } from '../../../policy/policy.ts';
import type { Client } from '../../client.ts';
import { CliError, exit } from '../../exit.ts';

/** Where the latch of a server would refuse this policy after the one that is in force there; null: nowhere. */
export async function latchFaults(
  client: Client,
  policy: Policy,
  file: string,
): Promise<readonly PolicyFault[] | null> {
  const { latch } = await client.get('/v1/cluster', clusterView);
  if (latch === null) return null;
  const before = inForce(await client.get('/v1/policy', policyView));
  try {
    checkLatched(policy, file, latch.groups, before);
    return null;
  } catch (error) {
    if (error instanceof PolicyError) return error.faults;
    throw error;
  }
}

/** @throws CliError if a server of another version has one that this program cannot read */
function inForce({ name, text }: { readonly name: string; readonly text: string }): Policy {
  try {
    return parsePolicy(text, name, enrolments);
  } catch (cause) {
    if (!(cause instanceof PolicyError)) throw cause;
    throw new CliError(
      'the policy in force at the server cannot be read by this version of the command line',
      'Use the command line of the same version as the server.',
      exit.error,
      cause,
    );
  }
}
