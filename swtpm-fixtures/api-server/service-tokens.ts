import { createPublicKey, generateKeyPairSync, randomUUID, sign, verify } from 'node:crypto';
import { z } from 'zod';
import type { Attempt } from './admission.ts';
import type { ResourceRequest } from './api-request.ts';
import { at, isObject, type JsonObject, type KubeObject, textAt, textsAt } from './json.ts';
import type { ObjectStore } from './object-store.ts';
import { badRequest, conflict, invalid, invalidValue, notFound } from './status.ts';
import { serviceAccount, type User } from './users.ts';

const issuer = 'https://kubernetes.default.svc.cluster.local';
/** What a token is for that names no audience. */
export const apiAudience = issuer;

const leastSeconds = 600;
const mostSeconds = 2 ** 32;
const usualSeconds = 3600;

export interface TokenParts {
  readonly store: ObjectStore;
  /** Milliseconds since the epoch. */
  readonly now: () => number;
  /** Admission of the request for a token. @throws ApiError */
  readonly admit: (attempt: Pick<Attempt, 'user' | 'namespace' | 'name' | 'object'>) => void;
}

/** Tokens of service accounts as 1.33 makes them: signed, for audiences, bound to a pod or a node. */
export class ServiceTokens {
  readonly #parts: TokenParts;
  readonly #keys = generateKeyPairSync('ec', { namedCurve: 'P-256' });
  readonly #keyId = randomUUID();

  constructor(parts: TokenParts) {
    this.#parts = parts;
  }

  /** Answers a TokenRequest. @throws ApiError */
  make({ namespace, name }: ResourceRequest, body: JsonObject, user: User): JsonObject {
    const { store, now } = this.#parts;
    const account = store.get('/serviceaccounts', `${namespace}/${name}`)?.object;
    if (account === undefined) throw notFound({ group: '', resource: 'serviceaccounts', name });
    const request: KubeObject = {
      ...body,
      apiVersion: 'authentication.k8s.io/v1',
      kind: 'TokenRequest',
      metadata: { name, namespace, uid: '', resourceVersion: '', creationTimestamp: '' },
    };
    this.#parts.admit({ user, namespace, name, object: request });
    const said = at(body, 'spec', 'expirationSeconds');
    const seconds = typeof said === 'number' ? said : usualSeconds;
    if (seconds < leastSeconds || seconds > mostSeconds) {
      const why = `may not specify a duration less than 10 minutes or larger than 2^32 seconds`;
      const cause = invalidValue('spec.expirationSeconds', seconds, why);
      throw invalid({ group: 'authentication.k8s.io', resource: 'TokenRequest', name }, [cause]);
    }
    const wanted = textsAt(body, 'spec', 'audiences');
    const audiences = wanted.length === 0 ? [apiAudience] : wanted;
    const issued = Math.floor(now() / 1000);
    const claims = {
      aud: audiences,
      exp: issued + seconds,
      iat: issued,
      iss: issuer,
      jti: randomUUID(),
      'kubernetes.io': {
        namespace,
        ...this.#boundTo(body, namespace),
        serviceaccount: { name, uid: account.metadata.uid },
      },
      nbf: issued,
      sub: `system:serviceaccount:${namespace}:${name}`,
    };
    const bound = at(body, 'spec', 'boundObjectRef');
    return {
      apiVersion: 'authentication.k8s.io/v1',
      kind: 'TokenRequest',
      metadata: { name, namespace, creationTimestamp: null },
      spec: { audiences, expirationSeconds: seconds, boundObjectRef: bound ?? null },
      status: {
        token: this.#signed(claims),
        expirationTimestamp: new Date((issued + seconds) * 1000).toISOString().replace(/\.\d+Z$/, 'Z'),
      },
    };
  }

  /** Who a token is, if it is one of ours, in time, and what it is bound to is still there. */
  review(
    token: string,
    audiences: readonly string[],
  ): { readonly user: User; readonly audiences: readonly string[] } | string {
    const claims = this.#verified(token);
    if (typeof claims === 'string') return claims;
    const fitting = claims.aud.filter((audience) => audiences.includes(audience));
    if (fitting.length === 0) {
      const list = (texts: readonly string[]) => texts.map((text) => JSON.stringify(text)).join(' ');
      return `token audiences [${list(claims.aud)}] is invalid for the target audiences [${list(audiences)}]`;
    }
    const { namespace, serviceaccount, pod, node } = claims['kubernetes.io'];
    const { store } = this.#parts;
    const isThere = (table: string, key: string, uid: string) =>
      store.get(table, key)?.object.metadata.uid === uid;
    if (!isThere('/serviceaccounts', `${namespace}/${serviceaccount.name}`, serviceaccount.uid)) {
      return 'service account has been deleted or recreated';
    }
    if (pod !== undefined && !isThere('/pods', `${namespace}/${pod.name}`, pod.uid)) return 'pod is gone';
    if (pod === undefined && node !== undefined && !isThere('/nodes', node.name, node.uid ?? '')) {
      return 'node is gone';
    }
    const prefix = 'authentication.kubernetes.io';
    const user: User = {
      ...serviceAccount(namespace, serviceaccount.name),
      uid: serviceaccount.uid,
      extra: {
        [`${prefix}/credential-id`]: [`JTI=${claims.jti}`],
        ...(node !== undefined && {
          [`${prefix}/node-name`]: [node.name],
          ...(node.uid !== undefined && { [`${prefix}/node-uid`]: [node.uid] }),
        }),
        ...(pod !== undefined && { [`${prefix}/pod-name`]: [pod.name], [`${prefix}/pod-uid`]: [pod.uid] }),
      },
    };
    return { user, audiences: fitting };
  }

  /** What `/.well-known/openid-configuration` shows. @param url of the API server */
  configuration(url: string): JsonObject {
    return {
      issuer,
      jwks_uri: `${url}/openid/v1/jwks`,
      response_types_supported: ['id_token'],
      subject_types_supported: ['public'],
      id_token_signing_alg_values_supported: ['ES256'],
    };
  }

  /** The public key, as `/openid/v1/jwks` shows it. */
  keySet(): JsonObject {
    const { kty = '', crv = '', x = '', y = '' } = this.#keys.publicKey.export({ format: 'jwk' });
    return { keys: [{ use: 'sig', alg: 'ES256', kid: this.#keyId, kty, crv, x, y }] };
  }

  /** The claims of what it is bound to. A pod brings its node along. */
  #boundTo(body: JsonObject, namespace: string): JsonObject {
    const reference = at(body, 'spec', 'boundObjectRef');
    if (!isObject(reference)) return {};
    const [kind = '', name = '', uid] = ['kind', 'name', 'uid'].map((member) => textAt(reference, member));
    const { store } = this.#parts;
    const found = (table: string, key: string): KubeObject => {
      const object = store.get(table, key)?.object;
      if (object === undefined) throw notFound({ group: '', resource: table.slice(1), name });
      if (uid === undefined || uid === object.metadata.uid) return object;
      const why = `the UID in the bound object reference (${uid}) does not match the UID in record. The object might have been deleted and then recreated`;
      throw conflict({ group: '', resource: table.slice(1), name }, why);
    };
    if (kind === 'Node') {
      const { metadata } = found('/nodes', name);
      return { node: { name, uid: metadata.uid } };
    }
    if (kind !== 'Pod') throw badRequest(`cannot bind token for serviceaccount to object of type ${kind}`);
    const pod = found('/pods', `${namespace}/${name}`);
    const nodeName = textAt(pod, 'spec', 'nodeName');
    const node = nodeName === undefined ? undefined : store.get('/nodes', nodeName)?.object;
    return {
      ...(nodeName !== undefined && {
        node: { name: nodeName, ...(node !== undefined && { uid: node.metadata.uid }) },
      }),
      pod: { name, uid: pod.metadata.uid },
    };
  }

  #signed(claims: JsonObject): string {
    const encoded = [{ alg: 'ES256', kid: this.#keyId }, claims].map(base64url).join('.');
    const signature = sign('sha256', Buffer.from(encoded), {
      key: this.#keys.privateKey,
      dsaEncoding: 'ieee-p1363',
    });
    return `${encoded}.${signature.toString('base64url')}`;
  }

  #verified(token: string): Claims | string {
    const [header = '', payload = '', signature = '', ...more] = token.split('.');
    if (signature === '' || more.length > 0) return 'unknown';
    const key = createPublicKey(this.#keys.privateKey);
    const bytes = Buffer.from(signature, 'base64url');
    const signed = Buffer.from(`${header}.${payload}`);
    if (!verify('sha256', signed, { key, dsaEncoding: 'ieee-p1363' }, bytes)) return 'unknown';
    const claims = claimsSchema.parse(JSON.parse(Buffer.from(payload, 'base64url').toString('utf8')));
    const now = Math.floor(this.#parts.now() / 1000);
    if (now >= claims.exp) return 'service account token has expired';
    return now < claims.nbf ? 'service account token is not valid yet' : claims;
  }
}

type Claims = z.infer<typeof claimsSchema>;

const named = z.object({ name: z.string(), uid: z.string() });
const claimsSchema = z.object({
  aud: z.array(z.string()),
  exp: z.number(),
  nbf: z.number(),
  jti: z.string(),
  'kubernetes.io': z.object({
    namespace: z.string(),
    serviceaccount: named,
    pod: named.optional(),
    node: z.object({ name: z.string(), uid: z.string().optional() }).optional(),
  }),
});

function base64url(value: JsonObject): string {
  return Buffer.from(JSON.stringify(value)).toString('base64url');
}
