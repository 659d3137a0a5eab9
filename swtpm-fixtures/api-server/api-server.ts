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
import { definitions } from './definitions.ts';
import { Door } from './door.ts';
import { Faults } from './faults.ts';
import { impersonated } from './impersonation.ts';
import { isObject, type Json, type JsonObject, type KubeObject, listAt, without } from './json.ts';
import { namespaceLifecycle } from './namespace-lifecycle.ts';
import { type NodeOptions, nodeObject } from './node-object.ts';
import { nodeRestriction } from './node-restriction.ts';
import { isNotReadyTaint } from './node-rules.ts';
import { ObjectStore } from './object-store.ts';
import { timestampOf } from './object-verbs.ts';
import { questions, type Reviewer } from './questions.ts';
import { RequestLog } from './request-log.ts';
import { apiAudience, ServiceTokens } from './service-tokens.ts';
import { expired } from './status.ts';
import { administrator, StaticTokens, type User } from './users.ts';
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
  /** `end`: in order, `destroy`: connections break, `expire`: 410 Gone as an event. */
  dropWatches(how: 'end' | 'destroy' | 'expire', resource?: string): void;
  /** What a compaction does: no watch goes back to before now. */
  forgetHistory(): void;
  /** All connections break; the objects stay. */
  stop(): Promise<void>;
  /** On the port that it had. */
  start(): Promise<void>;
}

const usualHistory = 5_000;
const usualBookmarkEvery = 60_000;

export async function openApiServer(options: ApiServerOptions = {}): Promise<ApiServer> {
  const resources = new AsyncDisposableStack();
  try {
    const dir = await mkdtemp(join(tmpdir(), 'assay-api-'));
    resources.defer(() => rm(dir, { recursive: true, force: true }));
    const certificate = await makeCertificate(dir);
    const tokens = new StaticTokens();
    const store = new ObjectStore(options.history ?? usualHistory);
    const faults = new Faults();
    const log = new RequestLog();
    let skew = 0;
    const now = () => Date.now() + skew;
    const authorizer = openAuthorizer(store, options.rbac !== false);
    const settleMs = options.settleMs ?? 0;
    const policies = admissionPolicies({ store, authorizer, now, settleMs });
    const restriction = options.nodeRestriction === false ? () => undefined : nodeRestriction(store);
    const lifecycle = namespaceLifecycle(store);
    const admission: Admission = {
      admit(attempt) {
        lifecycle(attempt);
        restriction(attempt);
      },
      validate: policies,
    };
    const custom = new CustomResources(store);
    const reviewer: Reviewer = (token, audiences) => {
      const user = tokens.userOf(token);
      if (user === null) return serviceTokens.review(token, audiences);
      // A token file knows no audiences: its tokens are for the API itself.
      return audiences.includes(apiAudience) ? { user, audiences: [apiAudience] } : 'unknown';
    };
    const tokenRequest = {
      operation: 'CREATE',
      type: serviceAccounts,
      subresource: 'token',
      old: null,
    } as const;
    const serviceTokens = new ServiceTokens({
      ...{ store, now },
      admit(attempt) {
        const whole = { ...tokenRequest, ...attempt, dryRun: false };
        admission.admit(whole);
        admission.validate(whole);
      },
    });
    const api = new Api({
      ...{ store, authorizer, admission, faults, log, now },
      types: () => [...builtinTypes, ...custom.types()],
      made: (type, object) => {
        if (type === definitions) custom.establish(object);
      },
      removed: (type, object) => {
        if (type === definitions) custom.removeOf(object);
      },
      pages: new Map([
        ['/openid/v1/jwks', () => serviceTokens.keySet()],
        [
          '/.well-known/openid-configuration',
          () => serviceTokens.configuration(`https://127.0.0.1:${door.port}`),
        ],
      ]),
      questions: questions(reviewer, authorizer),
      makers: [
        {
          ...{ plural: 'serviceaccounts', subresource: 'token' },
          make: (request, body, user) => serviceTokens.make(request, body, user),
        },
      ],
    });
    const door = new Door({
      certificate,
      authenticate(token, headers) {
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
          userAgent: 'test',
        });
        if (!('text' in answer)) throw new Error(`${method} ${target} has no answer of one piece`);
        const { code, text } = answer;
        const parsed = answer.contentType === 'application/json' ? parseJson(text) : null;
        return { code, text, body: isObject(parsed) ? parsed : null };
      },
    });
    for (const [plural, object] of bootstrapObjects) {
      const type = builtinTypes.find((other) => other.plural === plural);
      const base = type?.group === '' ? '/api/v1' : `/apis/${type?.group}/${type?.version}`;
      const { code, text } = await as(administrator).request('POST', `${base}/${plural}`, object);
      if (code !== 201) throw new Error(`a first object of ${plural} was refused: ${text}`);
    }
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
      dropWatches(how, resource) {
        door.endWatches(
          how === 'expire' ? { line: errorLine(expired('the history was dropped').status()) } : how,
          resource,
        );
      },
      forgetHistory: () => store.forgetHistory(),
      stop: () => door.close(),
      start: () => door.open(),
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
