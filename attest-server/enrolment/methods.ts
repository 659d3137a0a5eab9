import { type Enrolment, plainEnrolments } from '../policy/policy.ts';
import { createCloudProgram } from './cloud-program.ts';
import type { Cluster, ClusterPorts } from './cluster.ts';

export interface EnrolmentWays {
  /** What a policy of this server may name. */
  readonly ways: readonly Enrolment[];
  readonly clusterPorts?: ClusterPorts;
}

/**
 * By whose word nodes can enrol at this server: a way that nobody could vouch by is not offered.
 * @param cluster null: the server is in none
 * @throws Error for a cloud program that nobody would ask
 */
export function enrolmentWays(
  cluster: Cluster | null,
  cloudProgram: string | null,
  parts: { readonly now: () => number; readonly fault: (error: unknown) => void },
): EnrolmentWays {
  if (cluster === null) {
    if (cloudProgram === null) return { ways: plainEnrolments };
    throw new Error(
      'cloudProgram (ASSAY_CLOUD_PROGRAM) is asked about nodes of a cluster, and this server is in none: leave it out',
    );
  }
  const ekOfMachine = cloudProgram === null ? null : createCloudProgram({ ...parts, program: cloudProgram });
  const cloud: readonly Enrolment[] = ekOfMachine === null ? [] : ['cloud'];
  return { ways: [...plainEnrolments, ...cloud, 'vendor'], clusterPorts: { cluster, ekOfMachine } };
}
