import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import type { Access } from './access.ts';

export interface PodParts {
  readonly host: string;
  readonly port: number;
  /** Where the kubelet puts what a service account has. */
  readonly folder?: string;
}

const mounted = '/var/run/secrets/kubernetes.io/serviceaccount';

/**
 * The API as a pod sees it, by the files of its service account. These three need no client library, which would cost
 * the server 90 MB of memory.
 * @throws Error if the pod has no service account
 */
export async function podAccess({ host, port, folder = mounted }: PodParts): Promise<Access> {
  const read = async (name: string) => {
    const path = join(folder, name);
    try {
      return (await readFile(path, 'utf8')).trim();
    } catch (cause) {
      throw new Error(
        `${path} cannot be read, so the server cannot ask the API of its cluster: it does not run in a pod, or its service account is not mounted there. Set kubernetes.api to none or to a kubeconfig, or automountServiceAccountToken to true`,
        { cause },
      );
    }
  };
  const credentials = async () => ({
    headers: { authorization: `Bearer ${await read('token')}` },
    tls: { ca: await read('ca.crt') },
    agent: null,
  });
  await credentials();
  return {
    url: new URL(`https://${host.includes(':') ? `[${host}]` : host}:${port}`),
    namespace: await read('namespace'),
    credentials,
  };
}
