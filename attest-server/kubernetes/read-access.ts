import type { Access } from './access.ts';
import { kubeconfigAccess } from './kubeconfig.ts';
import { podAccess } from './pod.ts';

export interface AccessConfig {
  /** `pod`: the files of this pod's service account. Else the path of a kubeconfig. */
  readonly api: string;
  /** Where a pod finds the API. */
  readonly host: string;
  readonly port: number;
}

/** @throws Error if the files are not there or do not say which API is meant */
export function readAccess({ api, host, port }: AccessConfig): Promise<Access> {
  return api === 'pod' ? podAccess({ host, port }) : kubeconfigAccess(api);
}
