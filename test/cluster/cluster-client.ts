import { Agent, request } from 'node:https';
import { text } from 'node:stream/consumers';
import type { Access } from '../../attest-server/kubernetes/access.ts';
import { kubeconfigAccess } from '../../attest-server/kubernetes/kubeconfig.ts';
import { parseJson } from '../../swtpm-fixtures/api-server/decode.ts';
import { isObject, type Json, type JsonObject } from '../../swtpm-fixtures/api-server/json.ts';
import type { User } from '../../swtpm-fixtures/api-server/users.ts';

export interface Reply {
  readonly code: number;
  /** Empty where the answer is no object. */
  readonly body: JsonObject;
  readonly text: string;
}

export interface Asked {
  readonly method: 'GET' | 'POST' | 'PUT' | 'PATCH' | 'DELETE';
  /** With its query. */
  readonly path: string;
  readonly body?: Json;
  readonly contentType?: string;
  /** As whom; default: the user of the kubeconfig. */
  readonly as?: User | undefined;
}

/** Longer than any answer of an API server takes that is well. */
const within = 30_000;

/** The API that a kubeconfig names. Its user acts as others by impersonation, so that no certificate of a kubelet is needed. */
export class ClusterClient implements Disposable {
  readonly #access: Access;
  readonly #agent = new Agent({ keepAlive: true });

  private constructor(access: Access) {
    this.#access = access;
  }

  static async open(kubeconfig: string): Promise<ClusterClient> {
    return new ClusterClient(await kubeconfigAccess(kubeconfig));
  }

  /** Of the API, and the authority that vouches for it, in PEM: what a kubeconfig of somebody else needs. */
  async address(): Promise<{ readonly server: string; readonly authority: string | null }> {
    const { tls } = await this.#access.credentials();
    return { server: this.#access.url.href, authority: tls.ca?.toString() ?? null };
  }

  async ask({ method, path, body, contentType = 'application/json', as }: Asked): Promise<Reply> {
    const { headers, tls, agent } = await this.#access.credentials();
    const { url } = this.#access;
    const bytes = body === undefined ? null : Buffer.from(JSON.stringify(body));
    const sent = request({
      hostname: url.hostname.replace(/^\[|\]$/g, ''),
      port: url.port === '' ? 443 : url.port,
      path: `${url.pathname.replace(/\/$/, '')}${path}`,
      method,
      ...tls,
      agent: agent ?? this.#agent,
      signal: AbortSignal.timeout(within),
      headers: {
        ...headers,
        accept: 'application/json',
        ...(bytes !== null && { 'content-type': contentType, 'content-length': bytes.length }),
        ...(as !== undefined && { 'impersonate-user': as.name, 'impersonate-group': [...as.groups] }),
      },
    });
    return new Promise((resolve, reject) => {
      sent.once('error', reject);
      sent.once('response', (answer) => {
        text(answer).then((said) => {
          const parsed = answer.headers['content-type']?.includes('json') === true ? parseJson(said) : null;
          resolve({ code: answer.statusCode ?? 0, text: said, body: isObject(parsed) ? parsed : {} });
        }, reject);
      });
      sent.end(bytes ?? undefined);
    });
  }

  [Symbol.dispose](): void {
    this.#agent.destroy();
  }
}
