import type { Agent } from 'node:http';
import { kubeconfigAccess } from './kubeconfig.ts';
import { podAccess } from './pod.ts';

/** How the API of the cluster is reached, and as whom. */
export interface Access {
  /** Of the API; a path in it stands before those of requests. */
  readonly url: URL;
  /** The namespace in which the server itself runs; null where nothing says so. */
  readonly namespace: string | null;
  /** Read anew: tokens and certificates are replaced by others within the hour. @throws Error */
  credentials(): Promise<Credentials>;
}

export interface Credentials {
  readonly headers: Readonly<Record<string, string>>;
  readonly tls: TlsOptions;
  /** Of a proxy that a kubeconfig names; null: the API is reached directly. */
  readonly agent: Agent | null;
}

export interface TlsOptions {
  readonly ca?: string | Buffer;
  readonly cert?: string | Buffer;
  readonly key?: string | Buffer;
  readonly servername?: string;
  readonly rejectUnauthorized?: boolean;
}

export interface AccessConfig {
  /** `pod`: the files of this pod's service account. Else the path of a kubeconfig. */
  readonly api: string;
  /** Where a pod finds the API. */
  readonly host: string;
  readonly port: number;
}

/** @throws Error where the files are not there or do not say which API is meant */
export function readAccess({ api, host, port }: AccessConfig): Promise<Access> {
  return api === 'pod' ? podAccess({ host, port }) : kubeconfigAccess(api);
}
