import type { Agent } from 'node:http';

/** How the API of the cluster is reached, and as whom. */
export interface Access {
  /** Of the API; a path in it stands before those of requests. */
  readonly url: URL;
  /** The namespace in which the server itself runs; null if nothing says so. */
  readonly namespace: string | null;
  /** Read each time: tokens and certificates are replaced within the hour. @throws Error */
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
