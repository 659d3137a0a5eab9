/**
 * A Kubernetes API server in the tests' own process, faithful to the protocol of 1.33, with `faults` to switch
 * on, and held against answers of a real one (`swtpm-fixtures/recorded-api`). `README.md` beside it says what
 * it does and does not.
 */

import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { stringify } from 'yaml';
import type { Admission } from './admission.ts';
import { admissionPolicies } from './admission-policies.ts';
import { Api } from './api.ts';
import { openAuthorizer } from './authorizer.ts';
import { bootstrapObjects } from './bootstrap-objects.ts';
import { builtinTypes, nodes, serviceAccounts } from './builtin-types.ts';
import { makeCertificate } from './certificate.ts';
import { CustomResources } from './custom-resources.ts';
import { decodeObject, parseJson } from './decode.ts';
import { DefinitionStorage } from './definition-storage.ts';
import { definitions } from './definitions.ts';
import { Door } from './door.ts';
import { Faults } from './faults.ts';
import { impersonated } from './impersonation.ts';
import { isObject, type Json, type JsonObject, type KubeObject, listAt, textAt, without } from './json.ts';
import { namespaceLifecycle } from './namespace-lifecycle.ts';
import { type NodeOptions, nodeObject } from './node-object.ts';
import { nodeRestriction } from './node-restriction.ts';
import { isNotReadyTaint } from './node-rules.ts';
import { ObjectStore } from './object-store.ts';
import { timestampOf } from './object-verbs.ts';
import { bindPod, podAdmission } from './pod-admission.ts';
import { questions, type Reviewer } from './questions.ts';
import { RequestLog } from './request-log.ts';
import { apiAudience, ServiceTokens, signingKeys } from './service-tokens.ts';
import { expired } from './status.ts';
import { administrator, anonymous, StaticTokens, type User } from './users.ts';
import { errorLine } from './watch.ts';

export interface ApiServerOptions {
  /** Whether the rules of RBAC count; default: they do. */
  readonly rbac?: boolean;
  /** The admission plugin NodeRestriction; default: on. */
  readonly nodeRestriction?: boolean;
  /** Changes that watches can go back to; default 5,000. */
  readonly history?: number;
  /** Milliseconds until a new admission policy acts, as in a cluster, where it takes about a second; default 0. */
  readonly settleMs?: number;
  /** Milliseconds between the bookmarks of a watch; default: a minute, as in a cluster. */
  readonly bookmarkEvery?: number;
}

export interface Reply {
  readonly code: number;
  /** Null where the answer is no JSON. */
  readonly body: JsonObject | null;
  readonly text: string;
}

/** Asks as one user, past the network and past faults that are for nobody by name. */
export interface Client {
  request(method: string, target: string, body?: Json, contentType?: string): Promise<Reply>;
}

/** A Kubernetes API server of this process. Its protocol is that of kube-apiserver 1.33. */
export interface ApiServer extends AsyncDisposable {
  readonly url: string;
  /** PEM. */
  readonly authority: string;
  readonly store: ObjectStore;
  readonly faults: Faults;
  readonly log: RequestLog;
  /** Watches that are open now. */
  readonly watches: number;
  as(user: User): Client;
  tokenOf(user: User): string;
  /** Writes a kubeconfig file with a token of this user. @returns its path */
  kubeconfig(user: User): Promise<string>;
  /** A Node that is ready: the taint of new ones was taken off. */
  createNode(name: string, options?: NodeOptions): Promise<KubeObject>;
  /** Milliseconds by which its clock is wrong; 0 is right. */
  setClockSkew(ms: number): void;
  /**
   * Milliseconds that the storage of a definition needs, once it is new or changed, from its first request on: lists
   * and watches are answered 429 meanwhile, as in a cluster. At first 0.
   */
  setStorageStart(ms: number): void;
  /** `end`: in order, `destroy`: connections break, `expire`: 410 Gone as an event. */
  dropWatches(how: 'end' | 'destroy' | 'expire', resource?: string): void;
  /** What a restart does, and changes enough: no watch goes back to before now. */
  forgetHistory(): void;
  /** What a compaction of etcd does: no list of before can be made, or gone on with. */
  compact(): void;
  /**
   * All connections break; the objects stay.
   * @param graceful milliseconds for which open watches go on first, and then end in order, as after a SIGTERM:
   * a minute in a cluster. Nobody new is let in meanwhile
   */
  stop(options?: { readonly graceful: number }): Promise<void>;
  /** On the port that it had. No watch goes back to before. */
  start(): Promise<void>;
}

const usualHistory = 5_000;
const usualBookmarkEvery = 60_000;

export async function openApiServer(options: ApiServerOptions = {}): Promise<ApiServer> {
  const resources = new AsyncDisposableStack();
  try {
    const dir = await mkdtemp(join(tmpdir(), 'assay-api-'));
    resources.defer(() => rm(dir, { recursive: true, force: true }));
    const [certificate, keys] = await Promise.all([makeCertificate(dir), signingKeys()]);
    const tokens = new StaticTokens();
    const store = new ObjectStore(options.history ?? usualHistory);
    const faults = new Faults();
    const log = new RequestLog();
    let skew = 0;
    let storageStart = 0;
    const now = () => Date.now() + skew;
    const authorizer = openAuthorizer(store, options.rbac !== false);
    const settleMs = options.settleMs ?? 0;
    const policies = admissionPolicies({ store, authorizer, now, settleMs });
    const restriction =
      options.nodeRestriction === false ? () => undefined : nodeRestriction(store, authorizer);
    const lifecycle = namespaceLifecycle(store);
    const accountOfPod = podAdmission(store);
    const admission: Admission = {
      admit(attempt) {
        lifecycle(attempt);
        accountOfPod(attempt);
        restriction(attempt);
      },
      validate: policies,
    };
    const custom = new CustomResources(store);
    const reviewer: Reviewer = (token, audiences) => {
      const user = tokens.userOf(token);
      if (user === null) return serviceTokens.review(token, audiences);
      // A token file knows no audiences: its tokens are for the API itself.
      return audiences.includes(apiAudience) ? { user, audiences: [apiAudience] } : '';
    };
    const tokenRequest = {
      operation: 'CREATE',
      type: serviceAccounts,
      subresource: 'token',
      old: null,
    } as const;
    const serviceTokens = new ServiceTokens({
      ...{ keys, store, now },
      admit(attempt) {
        const whole = { ...tokenRequest, ...attempt, dryRun: false };
        admission.admit(whole);
        admission.validate(whole);
      },
    });
    const storage = new DefinitionStorage({
      ...{ store, now, startMs: () => storageStart },
      endWatches: (resource) => door.endWatches('end', resource),
    });
    const api = new Api({
      ...{ store, authorizer, admission, faults, log, now },
      types: () => [...builtinTypes, ...custom.types()],
      isBuiltin: (group, version) =>
        builtinTypes.some((type) => type.group === group && type.version === version),
      checkStorage: (type, verb) => storage.check(type, verb),
      made: (type, object) => {
        if (type === definitions) custom.establish(object);
      },
      removed: (type, object) => {
        if (type === definitions) custom.removeOf(object);
      },
      pages: new Map([
        ['/openid/v1/jwks', { contentType: 'application/jwk-set+json', show: () => serviceTokens.keySet() }],
        [
          '/.well-known/openid-configuration',
          {
            contentType: 'application/json',
            show: () => serviceTokens.configuration(`https://127.0.0.1:${door.port}`),
          },
        ],
      ]),
      questions: questions(reviewer, authorizer),
      makers: [
        {
          ...{ plural: 'serviceaccounts', subresource: 'token' },
          make: (request, body, user) => serviceTokens.make(request, body, user),
        },
        {
          ...{ plural: 'pods', subresource: 'binding' },
          make: (request, body) => bindPod(store, request, body, timestampOf(now())),
        },
      ],
    });
    const door = new Door({
      certificate,
      authenticate(token, headers) {
        if (token === '') return impersonated(anonymous, headers, authorizer);
        const found = reviewer(token, [apiAudience]);
        return typeof found === 'string' ? null : impersonated(found.user, headers, authorizer);
      },
      handle: (request) => api.handle(request),
      now,
      bookmarkEvery: options.bookmarkEvery ?? usualBookmarkEvery,
      unauthorized: () => log.count('', '', '', 401),
    });
    const as = (user: User): Client => ({
      async request(method, target, body, contentType = 'application/json') {
        const bytes = body === undefined ? Buffer.alloc(0) : Buffer.from(JSON.stringify(body));
        const answer = await api.handle({
          user,
          method,
          target,
          body: bytes,
          contentType,
          accept: '*/*',
          userAgent: 'test',
        });
        if (!('text' in answer)) throw new Error(`${method} ${target} has no answer of one piece`);
        const { code, text } = answer;
        const parsed = answer.contentType.endsWith('json') ? parseJson(text) : null;
        return { code, text, body: isObject(parsed) ? parsed : null };
      },
    });
    for (const [plural, object] of bootstrapObjects) {
      const type = builtinTypes.find((other) => other.plural === plural);
      const base = type?.group === '' ? '/api/v1' : `/apis/${type?.group}/${type?.version}`;
      const namespace = textAt(object, 'metadata', 'namespace');
      const place = namespace === undefined ? base : `${base}/namespaces/${namespace}`;
      const { code, text } = await as(administrator).request('POST', `${place}/${plural}`, object);
      if (code !== 201) throw new Error(`a first object of ${plural} was refused: ${text}`);
    }
    store.forgetWatches();
    log.clear();
    await door.open();
    resources.use(door);
    let files = 0;
    const owned = resources.move();
    const server: ApiServer = {
      ...{ store, faults, log, as, authority: certificate.authority },
      get url() {
        return `https://127.0.0.1:${door.port}`;
      },
      get watches() {
        return door.watches;
      },
      tokenOf: (user) => tokens.tokenOf(user),
      async kubeconfig(user) {
        files += 1;
        const path = join(dir, `kubeconfig-${files}`);
        const text = kubeconfigOf(server.url, certificate.authority, user.name, tokens.tokenOf(user));
        await writeFile(path, text, { mode: 0o600 });
        return path;
      },
      async createNode(name, nodeOptions = {}) {
        const body = nodeObject(name, nodeOptions, timestampOf(now()));
        // Kept as the controller of a cluster leaves it: nobody sees the taint that a new one has until it is ready.
        const reply = await as(administrator).request('POST', '/api/v1/nodes?dryRun=All', body);
        if (reply.code !== 201) throw new Error(`node ${name} was refused: ${reply.text}`);
        const isAsked = nodeOptions.taints?.some(isNotReadyTaint) ?? false;
        const made = decodeObject(reply.body, nodes);
        const { object } = store.put('/nodes', name, isAsked ? made : withoutNotReady(made));
        const said = { group: '', resource: 'nodes', subresource: '', namespace: '', name };
        log.note({
          ...said,
          at: now(),
          user: administrator.name,
          verb: 'create',
          before: null,
          after: object,
        });
        return object;
      },
      setClockSkew(ms) {
        skew = ms;
      },
      setStorageStart(ms) {
        storageStart = ms;
      },
      dropWatches(how, resource) {
        door.endWatches(
          how === 'expire' ? { line: errorLine(expired('the history was dropped').status()) } : how,
          resource,
        );
      },
      forgetHistory: () => store.forgetWatches(),
      compact: () => store.compact(),
      stop: (how) => door.close(how?.graceful),
      start() {
        store.forgetWatches();
        return door.open();
      },
      [Symbol.asyncDispose]: () => owned.disposeAsync(),
    };
    return server;
  } catch (error) {
    await resources.disposeAsync();
    throw error;
  }
}

function withoutNotReady(node: KubeObject): KubeObject {
  const taints = listAt(node, 'spec', 'taints').filter((taint) => !isNotReadyTaint(taint));
  const spec = without(isObject(node.spec) ? node.spec : {}, 'taints');
  return { ...node, spec: { ...spec, ...(taints.length > 0 && { taints }) } };
}

function kubeconfigOf(server: string, authority: string, user: string, token: string): string {
  return stringify({
    apiVersion: 'v1',
    kind: 'Config',
    clusters: [
      {
        name: 'assay',
        cluster: { server, 'certificate-authority-data': Buffer.from(authority).toString('base64') },
      },
    ],
    users: [{ name: user, user: { token } }],
    contexts: [{ name: 'assay', context: { cluster: 'assay', user } }],
    'current-context': 'assay',
  });
}
