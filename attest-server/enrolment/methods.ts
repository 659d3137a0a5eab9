import { type Bound, enrolmentMethods } from '../protocol/enrolment-method.ts';
import type { Cluster } from './cluster.ts';

/**
 * By which methods nodes can enrol at this server: one that nobody could vouch by is not offered.
 * @param cluster null: the server is in none
 * @throws Error for a cloud program that nobody would ask
 */
export function offeredMethods(
  cluster: Pick<Cluster, 'nodeOfToken'> | null,
  cloudProgram: string | null,
): readonly Bound[] {
  if (cluster === null && cloudProgram !== null)
    throw new Error(
      'cloudProgram (ASSAY_CLOUD_PROGRAM) is asked about nodes of a cluster, and this server is in none: set kubernetes.api (ASSAY_KUBERNETES_API), or leave it out',
    );
  const isOffered = { cloud: cloudProgram !== null, vendor: cluster !== null };
  return enrolmentMethods.filter((method) =>
    method === 'cloud' || method === 'vendor' ? isOffered[method] : true,
  );
}
