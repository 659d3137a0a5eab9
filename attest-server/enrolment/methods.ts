import { type EnrolmentMethod, enrolmentMethods } from '../formats/enrolment-method.ts';

export interface OfferedBy {
  readonly isInCluster: boolean;
  readonly cloudProgram: string | null;
  /** Whether anybody is trusted to endorse TPMs. */
  readonly hasRoots: boolean;
}

/**
 * By which methods nodes can enrol at this server: one that nobody could vouch by is not offered.
 * @throws Error for a cloud program that nobody would ask
 */
export function offeredMethods({
  isInCluster,
  cloudProgram,
  hasRoots,
}: OfferedBy): readonly EnrolmentMethod[] {
  if (!isInCluster && cloudProgram !== null)
    throw new Error(
      'cloudProgram (ASSAY_CLOUD_PROGRAM) is asked about nodes of a cluster, and this server is in none: set kubernetes.api (ASSAY_KUBERNETES_API), or leave it out',
    );
  const isOffered = { cloud: cloudProgram !== null, vendor: isInCluster && hasRoots };
  return enrolmentMethods.filter((method) =>
    method === 'cloud' || method === 'vendor' ? isOffered[method] : true,
  );
}
