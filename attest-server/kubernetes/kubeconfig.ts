import { Agent } from 'node:http';
import type { RequestOptions } from 'node:https';
import type { Access, TlsOptions } from './access.ts';

/**
 * The API that the current context of a kubeconfig names. The client library reads it: certificates, tokens, files,
 * programs that give tokens, proxies. It is loaded only here, since it takes 90 MB of memory.
 * @throws Error naming the file
 */
export async function kubeconfigAccess(path: string): Promise<Access> {
  const { emptyKubeConfig } = await import('./client-library.ts');
  const config = emptyKubeConfig();
  try {
    config.loadFromFile(path);
  } catch (cause) {
    // Below its first line that of a YAML parser shows the file, and tokens in it.
    const said = cause instanceof Error ? cause.message.split('\n')[0] : undefined;
    throw unusable(path, said ?? 'it cannot be read', cause);
  }
  const cluster = config.getCurrentCluster();
  if (cluster === null) throw unusable(path, 'its current-context names no cluster');
  const url = URL.parse(cluster.server);
  // Tokens travel to it: nothing may be sent in the clear.
  if (url?.protocol !== 'https:') throw unusable(path, `${cluster.server} is no https address`);
  return {
    url,
    namespace: config.getContextObject(config.getCurrentContext())?.namespace ?? null,
    async credentials() {
      const options: RequestOptions = {};
      await config.applyToHTTPSOptions(options);
      const isByProxy = cluster.proxyUrl !== undefined && options.agent instanceof Agent;
      return {
        headers: headersOf(options),
        tls: tlsOf(options),
        agent: isByProxy && options.agent instanceof Agent ? options.agent : null,
      };
    },
  };
}

function headersOf({ headers, auth }: RequestOptions): Record<string, string> {
  const found: Record<string, string> = {};
  // Of a file that ends with a newline the library takes it for a part of the token.
  for (const [name, value] of Object.entries(headers ?? {})) found[name.toLowerCase()] = String(value).trim();
  if (typeof auth === 'string') found.authorization = `Basic ${Buffer.from(auth).toString('base64')}`;
  return found;
}

function tlsOf({ ca, cert, key, servername, rejectUnauthorized }: RequestOptions): TlsOptions {
  return {
    ...(isBytes(ca) && { ca }),
    ...(isBytes(cert) && { cert }),
    ...(isBytes(key) && { key }),
    ...(servername !== undefined && { servername }),
    ...(rejectUnauthorized !== undefined && { rejectUnauthorized }),
  };
}

function isBytes(value: unknown): value is string | Buffer {
  return typeof value === 'string' || Buffer.isBuffer(value);
}

function unusable(path: string, why: string, cause?: unknown): Error {
  return new Error(`the kubeconfig ${path} (kubernetes.api) cannot be used: ${why.slice(0, 300)}`, { cause });
}
