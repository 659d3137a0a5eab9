import { generateKeyPair, hash, type KeyObject, randomUUID, sign, verify } from 'node:crypto';
import { promisify } from 'node:util';
import { z } from 'zod';
import type { Attempt } from './admission.ts';
import type { ResourceRequest } from './api-request.ts';
import { at, isObject, type Json, type JsonObject, type KubeObject, textAt, textsAt } from './json.ts';
import type { ObjectStore } from './object-store.ts';
import { badRequest, conflict, invalid, invalidValue, notFound } from './status.ts';
import { serviceAccount, type User } from './users.ts';

export interface SigningKeys {
  readonly privateKey: KeyObject;
  readonly publicKey: KeyObject;
}

const generate = promisify(generateKeyPair);
let keys: Promise<SigningKeys> | undefined;

/** The key that signs tokens. It takes long to make: all servers of a process have one. */
export function signingKeys(): Promise<SigningKeys> {
  keys ??= generate('rsa', { modulusLength: 2048 });
  return keys;
}

const issuer = 'https://kubernetes.default.svc';
/** What a token is for that names no audience. */
export const apiAudience = issuer;

const leastSeconds = 600;
const mostSeconds = 2 ** 32;
const usualSeconds = 3600;
/** What a kubelet asks for on behalf of clients that cannot renew; they get a year, and a warning after an hour. */
const askedByOldClients = 3607;
const oldClientsSeconds = 365 * 24 * 3600;

/** Milliseconds for which clocks may differ. */
const leeway = 60_000;
/** Milliseconds for which a good review is answered again. */
const cachedFor = 10_000;
const mostCached = 4096;

export interface TokenParts {
  readonly keys: SigningKeys;
  readonly store: ObjectStore;
  /** Milliseconds since the epoch. */
  readonly now: () => number;
  /** Admission of the request for a token. @throws ApiError */
  readonly admit: (attempt: Pick<Attempt, 'user' | 'namespace' | 'name' | 'object'>) => void;
}

/** Tokens of service accounts as 1.33 makes them: signed, for audiences, bound to a pod or a node. */
export class ServiceTokens {
  readonly #parts: TokenParts;
  readonly #keyId: string;
  readonly #cached = new Map<string, { readonly at: number; readonly found: Reviewed }>();

  constructor(parts: TokenParts) {
    this.#parts = parts;
    const der = parts.keys.publicKey.export({ type: 'spki', format: 'der' });
    this.#keyId = hash('sha256', der, 'base64url');
  }

  /** Answers a TokenRequest. @throws ApiError */
  make({ namespace, name }: ResourceRequest, body: JsonObject, user: User): JsonObject {
    const { store, now } = this.#parts;
    const { kind = 'TokenRequest' } = body;
    if (kind !== 'TokenRequest') {
      throw badRequest(`${String(kind)} in version "v1" cannot be handled as a TokenRequest`);
    }
    const said = at(body, 'spec', 'expirationSeconds');
    const seconds = typeof said === 'number' ? said : usualSeconds;
    const what = { group: 'authentication.k8s.io', resource: 'TokenRequest' };
    if (seconds < leastSeconds || seconds > mostSeconds) {
      const limit = seconds < leastSeconds ? 'less than 10 minutes' : 'larger than 2^32 seconds';
      const cause = invalidValue('spec.expirationSeconds', seconds, `may not specify a duration ${limit}`);
      throw invalid(what, [cause]);
    }
    const account = store.get('/serviceaccounts', `${namespace}/${name}`)?.object;
    if (account === undefined) throw notFound({ group: '', resource: 'serviceaccounts', name });
    const itsName = textAt(body, 'metadata', 'name') ?? '';
    if (itsName !== '' && itsName !== name) {
      const why = 'must match the service account name if specified';
      throw invalid({ ...what, name }, [invalidValue('metadata.name', itsName, why)]);
    }
    const request: KubeObject = {
      ...body,
      apiVersion: 'authentication.k8s.io/v1',
      kind: 'TokenRequest',
      metadata: { name, namespace, uid: '', resourceVersion: '', creationTimestamp: '' },
    };
    this.#parts.admit({ user, namespace, name, object: request });
    const wanted = textsAt(body, 'spec', 'audiences');
    const audiences = wanted.length === 0 ? [apiAudience] : wanted;
    const issued = Math.floor(now() / 1000);
    const bound = at(body, 'spec', 'boundObjectRef');
    const isOfOldClient =
      seconds === askedByOldClients &&
      textAt(bound, 'kind') === 'Pod' &&
      audiences.length === 1 &&
      audiences[0] === apiAudience;
    const claims = {
      aud: audiences,
      exp: issued + (isOfOldClient ? oldClientsSeconds : seconds),
      iat: issued,
      iss: issuer,
      jti: randomUUID(),
      'kubernetes.io': {
        namespace,
        ...this.#boundTo(body, namespace, name),
        serviceaccount: { name, uid: account.metadata.uid },
        ...(isOfOldClient && { warnafter: issued + seconds }),
      },
      nbf: issued,
      sub: `system:serviceaccount:${namespace}:${name}`,
    };
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

  /**
   * Who a token is, if it is one of ours, in time, and what it is bound to is still there, as it was at most ten
   * seconds ago. A text says why not; it is empty for what is no token of this server at all.
   */
  review(token: string, audiences: readonly string[]): Reviewed | string {
    const key = JSON.stringify([token, ...audiences]);
    const age = this.#parts.now() - (this.#cached.get(key)?.at ?? Number.NEGATIVE_INFINITY);
    const known = age >= 0 && age < cachedFor ? this.#cached.get(key)?.found : undefined;
    if (known !== undefined) return known;
    const found = this.#reviewed(token, audiences);
    if (typeof found === 'string') return found;
    if (this.#cached.size >= mostCached) this.#cached.clear();
    this.#cached.set(key, { at: this.#parts.now(), found });
    return found;
  }

  #reviewed(token: string, audiences: readonly string[]): Reviewed | string {
    const claims = this.#verified(token);
    if (typeof claims === 'string') return claims;
    const its = claims.aud.length === 0 ? [apiAudience] : claims.aud;
    const fitting = audiences.filter((audience) => its.includes(audience));
    if (fitting.length === 0) {
      const list = (texts: readonly string[]) => texts.map((text) => JSON.stringify(text)).join(' ');
      return `token audiences [${list(its)}] is invalid for the target audiences [${list(audiences)}]`;
    }
    const now = this.#parts.now();
    if (now - leeway > claims.exp * 1000) return 'service account token has expired';
    if (now + leeway < claims.nbf * 1000) return 'service account token is not valid yet';
    const { namespace, serviceaccount, pod, node } = claims['kubernetes.io'];
    const fault = this.#faultOfBinding(namespace, serviceaccount, pod, node);
    if (fault !== null) return fault;
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

  /** What is wrong with the objects that it stands for. Null: nothing. */
  #faultOfBinding(
    namespace: string,
    account: Named,
    pod: Named | undefined,
    node: z.infer<typeof nodeClaim> | undefined,
  ): string | null {
    const find = (table: string, key: string) => this.#parts.store.get(table, key)?.object;
    const invalidated = 'service account token has been invalidated';
    const found = find('/serviceaccounts', `${namespace}/${account.name}`);
    if (found === undefined) return `serviceaccounts "${account.name}" not found`;
    if (this.#isGone(found)) return invalidated;
    if (found.metadata.uid !== account.uid) {
      return `service account UID (${found.metadata.uid}) does not match claim (${account.uid})`;
    }
    const [table, key, its] =
      pod !== undefined ? ['/pods', `${namespace}/${pod.name}`, pod] : ['/nodes', node?.name ?? '', node];
    if (its === undefined) return null;
    const bound = find(table, key);
    if (bound === undefined || this.#isGone(bound)) return invalidated;
    const kind = pod !== undefined ? 'pod' : 'node';
    const { uid } = bound.metadata;
    return uid === its.uid
      ? null
      : `${kind} UID (${uid}) does not match service account ${kind} ref claim (${its.uid})`;
  }

  #isGone({ metadata: { deletionTimestamp } }: KubeObject): boolean {
    return deletionTimestamp !== undefined && this.#parts.now() - leeway > Date.parse(deletionTimestamp);
  }

  /** What `/.well-known/openid-configuration` shows. @param url of the API server */
  configuration(url: string): JsonObject {
    return {
      issuer,
      jwks_uri: `${url}/openid/v1/jwks`,
      response_types_supported: ['id_token'],
      subject_types_supported: ['public'],
      id_token_signing_alg_values_supported: ['RS256'],
    };
  }

  /** The public key, as `/openid/v1/jwks` shows it. */
  keySet(): JsonObject {
    const { kty = '', n = '', e = '' } = this.#parts.keys.publicKey.export({ format: 'jwk' });
    return { keys: [{ use: 'sig', kty, kid: this.#keyId, alg: 'RS256', n, e }] };
  }

  /** The claims of what it is bound to. A pod brings its node along. */
  #boundTo(body: JsonObject, namespace: string, account: string): JsonObject {
    const reference = at(body, 'spec', 'boundObjectRef');
    if (!isObject(reference)) return {};
    const [kind = '', name = '', uid] = ['kind', 'name', 'uid'].map((member) => textAt(reference, member));
    const { store } = this.#parts;
    const found = (table: string, key: string): KubeObject => {
      if (name === '') throw badRequest('Name parameter required.');
      const object = store.get(table, key)?.object;
      if (object === undefined) throw notFound({ group: '', resource: table.slice(1), name });
      if (uid === undefined || uid === '' || uid === object.metadata.uid) return object;
      const why = `the UID in the bound object reference (${uid}) does not match the UID in record. The object might have been deleted and then recreated`;
      throw conflict({ group: '', resource: kind, name }, why);
    };
    if (kind === 'Node') {
      const { metadata } = found('/nodes', name);
      return { node: { name, uid: metadata.uid } };
    }
    if (kind !== 'Pod') throw badRequest(`cannot bind token to object of type ${kind}`);
    const pod = found('/pods', `${namespace}/${name}`);
    if (textAt(pod, 'spec', 'serviceAccountName') !== account) {
      const why = 'to pod running with different serviceaccount name.';
      throw badRequest(`cannot bind token for serviceaccount "${account}" ${why}`);
    }
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
    const encoded = [{ alg: 'RS256', kid: this.#keyId }, claims].map(base64url).join('.');
    const signature = sign('sha256', Buffer.from(encoded), this.#parts.keys.privateKey);
    return `${encoded}.${signature.toString('base64url')}`;
  }

  #verified(token: string): Claims | string {
    const [header = '', payload = '', signature = '', ...more] = token.trim().split('.');
    if (more.length > 0 || /[^\w.-]/.test(token.trim())) return '';
    const claims = claimsSchema.safeParse(parsed(payload));
    // Who issued it decides who looks at it.
    if (!claims.success || claims.data.iss !== issuer) return '';
    const { publicKey } = this.#parts.keys;
    const signed = Buffer.from(`${header}.${payload}`);
    const bytes = Buffer.from(signature, 'base64url');
    // Bits that no byte holds would be lost in silence.
    const isSigned =
      bytes.toString('base64url') === signature &&
      textAt(parsed(header), 'alg') === 'RS256' &&
      verify('sha256', signed, publicKey, bytes);
    return isSigned ? claims.data : 'go-jose/go-jose: error in cryptographic primitive';
  }
}

type Claims = z.infer<typeof claimsSchema>;

export interface Reviewed {
  readonly user: User;
  /** Those of the asked ones that the token has. */
  readonly audiences: readonly string[];
}

const named = z.object({ name: z.string(), uid: z.string() });
type Named = z.infer<typeof named>;
const nodeClaim = z.object({ name: z.string(), uid: z.string().optional() });

const claimsSchema = z.object({
  iss: z.string(),
  aud: z.union([z.string().transform((one) => [one]), z.array(z.string())]).default([]),
  exp: z.number(),
  nbf: z.number(),
  jti: z.string(),
  'kubernetes.io': z.object({
    namespace: z.string(),
    serviceaccount: named,
    pod: named.optional(),
    node: nodeClaim.optional(),
  }),
});

/** Null: no JSON. */
function parsed(part: string): Json {
  try {
    return JSON.parse(Buffer.from(part, 'base64url').toString('utf8'));
  } catch {
    return null;
  }
}

function base64url(value: JsonObject): string {
  return Buffer.from(JSON.stringify(value)).toString('base64url');
}
