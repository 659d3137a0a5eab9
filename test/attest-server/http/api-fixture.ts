import assert from 'node:assert/strict';
import { mkdtempSync, rmSync } from 'node:fs';
import type { RequestListener } from 'node:http';
import { request as httpsRequest } from 'node:https';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { AuthorityView } from '../../../attest-server/api/authority-api.ts';
import { problem } from '../../../attest-server/api/problem.ts';
import type { HistoryEntry, NodeStatus } from '../../../attest-server/attest/ports.ts';
import type { Connected } from '../../../attest-server/channel/ports.ts';
import type { WaitingTpm } from '../../../attest-server/enrolment/approvals.ts';
import type { KnownClaim } from '../../../attest-server/enrolment/claims.ts';
import type {
  EnrolledNode,
  JoinToken,
  Pin,
  ProvenConnection,
} from '../../../attest-server/enrolment/ports.ts';
import type { UnsupportedNode } from '../../../attest-server/enrolment/without-tpm.ts';
import { trialMessage } from '../../../attest-server/events/message.ts';
import type { Bundle } from '../../../attest-server/formats/bundle.ts';
import type { Reference } from '../../../attest-server/formats/reference.ts';
import { afterAction, NotNow } from '../../../attest-server/formats/reference-life.ts';
import { faultAdvice, type StorageFault } from '../../../attest-server/formats/server-fault.ts';
import type { EndedConnection, KubeletStatus } from '../../../attest-server/formats/silence.ts';
import { createApi } from '../../../attest-server/http/api.ts';
import { type Listening, listenSecurely } from '../../../attest-server/http/listen.ts';
import type { ApiPorts, ApiToken } from '../../../attest-server/http/ports.ts';
import type { Caller } from '../../../attest-server/http/roles.ts';
import { routes } from '../../../attest-server/http/routes.ts';
import type { PolicyRevision, Rollback } from '../../../attest-server/in-force/ports.ts';
import type { Control } from '../../../attest-server/marking/control.ts';
import { nextStep } from '../../../attest-server/policy/advice.ts';
import type { SimulatedNode } from '../../../attest-server/policy/draft/simulation.ts';
import { groupOf, type PolicyGroup, shownGroup } from '../../../attest-server/policy/policy.ts';
import type { SharedReference } from '../../../attest-server/policy/reference-reach.ts';
import { observePolicy } from '../../../attest-server/policy/shipped/built-in.ts';
import type { Absence } from '../../../attest-server/presence/ports.ts';
import { sharedWith } from '../../../attest-server/references/alike-nodes.ts';
import { gatherCandidates } from '../../../attest-server/references/candidates.ts';
import { createCapture } from '../../../attest-server/references/capture.ts';
import { createReferenceLife } from '../../../attest-server/references/life.ts';
import type { NextBoot } from '../../../attest-server/references/next-boots.ts';
import type { Proven } from '../../../attest-server/verify/proven.ts';
import type { AuditOrigin } from '../../../attest-server/wire/audit-key.ts';
import { classOf, type ReasonCode } from '../../../attest-server/wire/reasons.ts';
import type { Reason, Verdict } from '../../../attest-server/wire/verdict.ts';
import { quietAdmission } from '../door/quiet-admission.ts';
import { identityIn, putIdentity } from '../tls/made-identity.ts';

export const now = Date.parse('2026-11-20T12:00:00.000Z');

export function reasonOf(code: ReasonCode, change: Partial<Reason> = {}): Reason {
  return {
    code,
    class: classOf(code),
    aspect: 'boot',
    severity: 'fail',
    source: 'tpm',
    expected: 'vmlinuz 6.12.1',
    actual: 'vmlinuz 6.1.0',
    text: 'the kernel is another one',
    evidence: null,
    ...change,
  };
}

export function verdictOf(change: Partial<Verdict> = {}): Verdict {
  return {
    state: 'trusted',
    reasons: [],
    aspects: {
      identity: { status: 'affirming', source: 'tpm' },
      boot: { status: 'affirming', source: 'tpm' },
    },
    group: 'workers',
    require: ['identity', 'boot'],
    mode: 'enforce',
    policy: 'strict@0123456789ab',
    ...change,
  };
}

export function enrolled(name: string): EnrolledNode {
  return {
    ekDigest: 'ab'.repeat(32),
    keyDigest: 'ac'.repeat(32),
    name,
    bound: 'pin',
    ekPublicArea: Buffer.alloc(0),
    ekCertificate: null,
    akPublicArea: Buffer.alloc(0),
    akName: '000b',
    banks: ['sha256'],
    manufacturer: 'IBM',
    tpmClass: 'virtual',
    endorsedBy: null,
    enrolledAt: now,
    enrolledBy: 'token:admin',
  };
}

export function statusOf(name: string, verdict: Verdict, change: Partial<NodeStatus> = {}): NodeStatus {
  return {
    name,
    ekDigest: 'ab'.repeat(32),
    state: verdict.state,
    verdict,
    verifiedAt: now - 5_000,
    expiresAt: now + 60_000,
    trustedAt: null,
    bootSeenAt: now - 3_540_000,
    bootedAfter: null,
    bootedAt: now - 3_600_000,
    resetCount: 7,
    restartCount: 0,
    clock: 1000n,
    firmwareVersion: '2019102300163636',
    bootId: null,
    sequence: null,
    kernel: '6.12.1',
    systemUuid: null,
    parts: {},
    memory: {},
    evidenceDigest: null,
    recordedAt: now - 5_000,
    recordedEvidence: null,
    repeats: 0,
    trustedBy: null,
    since: now - 3_600_000,
    ...change,
  };
}

export function referenceOf(name: string, pcr4 = '00'.repeat(32)): Reference {
  return {
    version: 1,
    kind: 'boot',
    name,
    group: 'workers',
    state: 'active',
    expires: null,
    pcrs: { sha256: { '4': pcr4 } },
    components: [],
    events: [
      {
        index: 0,
        pcr: 4,
        type: 'EV_EFI_BOOT_SERVICES_APPLICATION',
        digests: { sha256: pcr4 },
        stage: 'kernel',
        describes: `kernel ${name}`,
      },
    ],
    captured: { by: 'token:operator', node: 'node-1', at: new Date(now).toISOString() },
  };
}

/** A world in memory that the API shows; tests change it and read what was asked of it. */
export interface World {
  readonly nodes: Map<string, { enrolled: EnrolledNode; status: NodeStatus | null }>;
  readonly history: HistoryEntry[];
  readonly references: Reference[];
  readonly bundles: Map<string, Bundle>;
  /** What a node's kept evidence proves. */
  readonly proofs: Map<string, Proven>;
  readonly pins: Pin[];
  readonly joinTokens: { node: string; ttlMs: number; actor: string }[];
  readonly madeTokens: Omit<JoinToken, 'secretHash'>[];
  /** Who is asked for evidence now. */
  readonly asked: string[];
  /** Connected agents, and what each does when it is asked. */
  readonly answering: Map<string, () => void>;
  /** Which keys sign the audit log; nobody has the private one. */
  auditKey: AuditOrigin;
  rollback: string | null;
  policySource: string;
  policyText: string;
  policyGroups: readonly PolicyGroup[];
  readonly faulty: ReturnType<ApiPorts['server']['faulty']>[number][];
  /** Policies that were in force, the latest first. */
  readonly policies: (PolicyRevision & { readonly text: string })[];
  policyRollback: Rollback | null;
  comparing: ReturnType<ApiPorts['policyHistory']['comparing']>;
  readonly waiting: WaitingTpm[];
  readonly unsupported: UnsupportedNode[];
  readonly claims: KnownClaim[];
  readonly connected: Map<string, Connected>;
  readonly ended: Map<string, EndedConnection>;
  readonly kubelets: Map<string, KubeletStatus>;
  /** By node, milliseconds until it is asked again. */
  readonly waits: Map<string, number>;
  readonly lastSeen: Map<string, ProvenConnection>;
  /** Of the cluster; null: the server is in none. */
  labels: Map<string, Record<string, string>> | null;
  backups: ReturnType<ApiPorts['server']['backups']>;
  cluster: Control | null;
  clusterRights: ApiPorts['clusterRights'];
  /** As when the API starts. */
  volumes: ApiPorts['volumes'];
  nextBoots: ReadonlyMap<string, NextBoot>;
  /** Nodes that left the cluster. */
  readonly absences: Map<string, Absence>;
  webhook: ApiPorts['webhook'];
  listen: ApiPorts['listen'];
  /** Whom any change of a reference would change. */
  readonly simulated: SimulatedNode[];
  /** Of whom a capture would demand a proof that they do not give. */
  readonly demanded: SimulatedNode[];
  /** What affirms the same as any reference that would be revoked. */
  readonly shared: SharedReference[];
  readonly decisions: string[];
  readonly faults: unknown[];
  readonly answered: { method: string; route: string; status: number }[];
  ready: { ok: boolean; reason: string | null };
  failing: boolean;
  /** Why nothing can be stored. */
  storage: StorageFault | null;
  /** No token counts any more. */
  revoked: boolean;
  /** The list of nodes is never answered; and how often it was asked for so. */
  hanging: boolean;
  hung: number;
  /** Others ask about policies already. */
  busy: boolean;
  /** The server is of a version that could neither simulate steps of references nor search the audit log. */
  earlier: boolean;
}

export function emptyWorld(): World {
  return {
    nodes: new Map(),
    history: [],
    references: [],
    bundles: new Map(),
    proofs: new Map(),
    pins: [],
    joinTokens: [],
    madeTokens: [],
    asked: [],
    answering: new Map(),
    auditKey: {
      origin: `assay/${'0'.repeat(32)}`,
      keys: [{ publicKey: `${'A'.repeat(43)}=`, signature: null }],
    },
    rollback: null,
    policySource: '/etc/assay/policy.yaml',
    policyText: 'kind: Policy\n',
    policyGroups: [],
    faulty: [],
    policies: [],
    policyRollback: null,
    comparing: null,
    waiting: [],
    unsupported: [],
    claims: [],
    connected: new Map(),
    ended: new Map(),
    kubelets: new Map(),
    waits: new Map(),
    lastSeen: new Map(),
    labels: null,
    backups: null,
    cluster: null,
    clusterRights: null,
    nextBoots: new Map(),
    listen: async () => (response) =>
      response.end(`: listening\n\ndata: ${trialMessage('evt_1', now, 'server', null).body}\n\n`),
    volumes: {
      list: async () => [],
      add: async () => null,
      rotate: async () => false,
      cancelRotation: async () => false,
      remove: async () => false,
      revoke: async () => false,
      rewrap: async () => 0,
      wrappingKeys: async () => null,
      escrow: async () => null,
      refusals: async () => [],
    },
    absences: new Map(),
    webhook: null,
    simulated: [],
    demanded: [],
    shared: [],
    decisions: [],
    faults: [],
    answered: [],
    ready: { ok: true, reason: null },
    failing: false,
    storage: null,
    revoked: false,
    hanging: false,
    hung: 0,
    busy: false,
    earlier: false,
  };
}

/** As long as one may be: RS256 with claims of a pod has some 1,100 characters, one of OIDC with many groups some thousands. */
export const longestToken = 'eyJhbGciOiJSUzI1NiJ9.'.padEnd(8192, 'b');

const tokens: Readonly<Record<string, Caller>> = {
  [longestToken]: { name: 'kubernetes:alice', role: 'reader', expiresAt: null },
  'admin-token': { name: 'token:admin', role: 'admin', expiresAt: null },
  'operator-token': { name: 'token:operator', role: 'operator', expiresAt: now + 3_600_000 },
  'reader-token': { name: 'token:reader', role: 'reader', expiresAt: null },
};

const takenToken: ApiToken = {
  id: 'id',
  name: 'taken',
  role: 'reader',
  secretHash: '',
  createdBy: 'token:admin',
  createdAt: now,
  expiresAt: null,
};

const authorityNow: AuthorityView = {
  stage: 'announced',
  nodes: 2,
  untold: 1,
  waitingFor: ['node-2'],
  authorities: [
    {
      digest: 'ab'.repeat(32),
      state: 'in force',
      certificate: 'PEM\n',
      expiresAt: '2036-11-20T12:00:00.000Z',
    },
  ],
};

/** The real life of references, over the world's list. */
function referenceLifeOf(world: World, separate: boolean) {
  const store = referencesOf(world);
  const policy = () => observePolicy;
  return createReferenceLife({
    store,
    separate,
    policy,
    now: () => now,
    changed: async () => {},
    directory: null,
  });
}

/** The real capture, of what the world says that its nodes proved. */
function captureOf(world: World): Pick<ApiPorts['references'], 'capture' | 'draft'> {
  return createCapture({
    store: referencesOf(world),
    now: () => now,
    unknownAfter: 180_000,
    separate: false,
    async prove(node) {
      const proven = world.proofs.get(node) ?? null;
      return proven === null ? { proven, note: 'its evidence was erased' } : { proven };
    },
    status: (node) => world.nodes.get(node)?.status ?? null,
    groupOf: (node) => groupOf(observePolicy, node, {}),
    changed: async () => {},
  });
}

function referencesOf(world: World) {
  return {
    list: async () => world.references,
    add: async (added: Reference) => {
      world.references.push(added);
    },
    addAll: async (added: readonly { readonly reference: Reference }[]) => {
      world.references.push(...added.map(({ reference }) => reference));
    },
    update: async (changed: Reference) => {
      const at = world.references.findIndex(({ name }) => name === changed.name);
      world.references[at] = changed;
    },
    remove: async (gone: string) => {
      world.references.splice(
        world.references.findIndex(({ name }) => name === gone),
        1,
      );
    },
  };
}

export function portsOf(world: World): ApiPorts {
  return {
    known: () => {},
    store: {
      node: async (name) => world.nodes.get(name)?.enrolled ?? null,
      nodes: async () => {
        if (world.failing) throw new Error('SECRET database path');
        if (world.hanging) {
          world.hung += 1;
          await new Promise(() => {});
        }
        return [...world.nodes.values()].map((node) => node.enrolled);
      },
      status: async (name) => world.nodes.get(name)?.status ?? null,
      statuses: async () => [...world.nodes.values()].flatMap(({ status }) => status ?? []),
      history: async (name, { limit, before = Number.POSITIVE_INFINITY }) =>
        world.history.filter((entry) => entry.node === name && entry.at < before).slice(0, limit),
      transitions: async (name, limit) =>
        world.history.filter((entry) => entry.node === name && entry.transition).slice(0, limit),
      references: async () => world.references,
      serverFault: () => null,
    },
    storageFault: () => world.storage,
    faultAdvice: (cause) => faultAdvice(cause, '/var/lib/assay'),
    tokens: {
      authenticate: (header) =>
        world.revoked ? null : (tokens[header?.replace('Bearer ', '') ?? ''] ?? null),
    },
    namedTokens: {
      create: async ({ name, ttlMs }) =>
        name === 'taken' ? null : { text: `text of ${name}`, expiresAt: ttlMs === null ? null : now + ttlMs },
      list: async () => [takenToken],
      revoke: async (name) => name === 'taken',
    },
    enrolment: {
      approvals: {
        waiting: async () => world.waiting,
        approve: async (node, ek, actor) => {
          world.decisions.push(`${actor} approves ${node} ${ek}`);
          return { ekDigest: ek, isWaiting: ek.startsWith('ab') };
        },
        approveAll: async (actor, only) => {
          const which = only?.map(({ name, ekDigest }) => `${name} ${ekDigest.slice(0, 4)}`) ?? ['all'];
          world.decisions.push(`${actor} approves ${which.join()}`);
          return ['node-1'];
        },
        revoke: async (node, { reason, actor, eraseEvidence }) => {
          world.decisions.push(
            `${actor} revokes ${node}${eraseEvidence ? ' and its evidence' : ''}: ${reason}`,
          );
          const ek = world.nodes.get(node)?.enrolled.ekDigest;
          return ek === undefined ? null : { ek, ...(eraseEvidence && { freedBytes: 5 * 1024 * 1024 }) };
        },
      },
      unsupported: () => world.unsupported,
      claimedWithoutTpm: () => [],
      mayEnrol: (node) => !node.startsWith('pinned'),
      claims: () => Map.groupBy(world.claims, ({ node }) => node),
      lastSeen: (node) => world.lastSeen.get(node) ?? null,
      importPins: async (pins) => {
        world.pins.push(...pins);
      },
      createJoinToken: async (request) => {
        if (world.storage !== null) throw world.storage;
        world.joinTokens.push(request);
        return 'assay-join-token';
      },
      joinTokens: async () => world.madeTokens,
      revokeJoinToken: async (id) => {
        const at = world.madeTokens.findIndex((token) => token.id === id && token.usedAt === null);
        if (at >= 0) world.madeTokens.splice(at, 1);
        return at >= 0;
      },
    },
    connected: (node) => world.connected.get(node) ?? null,
    ended: (node) => world.ended.get(node) ?? null,
    kubeletReady: (node) => world.kubelets.get(node) ?? null,
    waits: (node) => world.waits.get(node) ?? 0,
    turned: () => null,
    affirmedBy: (name) => world.references.find((one) => one.name === name)?.captured ?? null,
    cluster: world.cluster,
    clusterRights: world.clusterRights,
    volumes: world.volumes,
    listen: world.listen,
    groupOf: (node) => groupOf({ groups: world.policyGroups }, node),
    presence: {
      isHidden: (node) =>
        world.absences.get(node)?.goneAt != null && world.nodes.get(node)?.status?.state !== 'untrusted',
      absenceOf: (node) => world.absences.get(node) ?? null,
      readAbsence: async (node) => world.absences.get(node) ?? null,
    },
    webhook: world.webhook,
    labelsOf: world.labels && ((node) => world.labels?.get(node) ?? {}),
    references: {
      life: referenceLifeOf(world, false),
      ...captureOf(world),
      candidates: (filter) =>
        gatherCandidates(
          {
            statuses: () => [...world.nodes.values()].flatMap(({ status }) => status ?? []),
            store: referencesOf(world),
            policy: () => ({ groups: world.policyGroups }),
            directory: null,
            now: () => now,
            unknownAfter: 180_000,
          },
          filter,
        ),
      nextBoots: async () => world.nextBoots,
      shared: (node, group) =>
        sharedWith(
          node,
          [...world.nodes.values()].flatMap(({ status }) => status ?? []),
          group,
        ),
    },
    bundle: async (node, evidence) => {
      const key = [...world.bundles.keys()].find((each) => evidence !== null && each.startsWith(evidence));
      return world.bundles.get(evidence === null ? node : (key ?? '')) ?? null;
    },
    authority: {
      view: async () => authorityNow,
      rotate: async () => authorityNow,
      finish: async (force) => (force ? authorityNow : 'one node was not told'),
      retire: async () => 'there is nothing to retire',
    },
    audit: {
      search: async () => ({ items: [], next: null }),
      checkpoints: async () => [],
      keys: () => ({ earlier: [], ...world.auditKey }),
      sign: async () => {},
      rollback: () => world.rollback,
      rotate: async () => ({ keyId: '00000000' }),
      resolve: async () => true,
      backup: async () => ({ path: '/state/backups/assay.db', bytes: 1 }),
    },
    policies: {
      groups: () => world.policyGroups.map(shownGroup),
      simulate: async () => ({ items: [], next: null, latched: [], refusedShare: 0.1 }),
      async simulateReference(name, action, { after = '', limit }) {
        if (world.busy) throw Object.assign(new Error('come again'), { name: 'TooManyTrials' });
        const found = world.references.find((reference) => reference.name === name);
        if (found === undefined) return null;
        const { state: to } = afterAction(found, action);
        const rest = world.simulated.filter(({ node }) => node > after);
        return {
          reference: found,
          to,
          sharedWith: action === 'revoke' ? world.shared : [],
          items: rest.slice(0, limit).map((item) => ({ ...item, like: item.changed })),
          next: rest.length > limit ? (rest[limit - 1]?.node ?? null) : null,
        };
      },
      simulateAdded: async (added) => ({
        items: added.some(({ aggregate }) => aggregate === 'required') ? [...world.demanded] : [],
        next: null,
      }),
      async observations() {
        if (world.busy) throw Object.assign(new Error('come again'), { name: 'TooManyTrials' });
        return { items: [], unseen: [], next: null };
      },
    },
    policyHistory: {
      list: async () => world.policies,
      kept: async (digits) => {
        const found = world.policies.find(({ digest }) => digest.startsWith(digits));
        if (found === undefined) throw new NotNow(`no policy ${digits} was in force here`);
        return found;
      },
      rollback: () => world.policyRollback,
      comparing: () => world.comparing,
      goBack: async (digits, { by, reason }) => {
        const found = world.policies.find(({ digest }) => digest.startsWith(digits));
        if (found === undefined || found.endedAt === null) throw new NotNow('it is in force already');
        world.decisions.push(`${by} goes back to ${digits}: ${reason}`);
        const { digest, name, text } = found;
        world.policyRollback = { digest, insteadOf: 'e25b'.repeat(16), at: now, by, reason };
        const policy = (revision: string) => ({ name, revision, text, groups: [] });
        return { before: policy('0123456789ab'), now: policy(digest.slice(0, 12)) };
      },
      allow: async (digest, { by, reason }) => {
        world.decisions.push(`${by} allows ${digest}: ${reason}`);
        return { digest, isInForce: world.faulty.some(({ refused }) => refused !== null), refused: null };
      },
    },
    advise: nextStep,
    policy: () => ({
      name: 'strict',
      revision: '0123456789ab',
      text: world.policyText,
      groups: world.policyGroups,
    }),
    ready: () => world.ready,
    challengeNow(node) {
      world.asked.push(node);
      const answer = world.answering.get(node);
      answer?.();
      return answer !== undefined;
    },
    server: {
      version: '0.2.0',
      startedAt: now - 86_400_000,
      trial: false,
      declared: () => null,
      policySource: () => world.policySource,
      policySince: () => now - 3_600_000,
      faulty: () => world.faulty,
      space: () => ({ free: 5_000_000_000, total: 20_000_000_000 }),
      store: () => ({ schema: 12, bytes: 4_096_000 }),
      backups: () => world.backups,
      certificates: () => [
        { of: 'server', expiresAt: now + 90 * 86_400_000 },
        { of: 'authority', expiresAt: now + 3000 * 86_400_000 },
      ],
      connections: () => [
        { port: 'agents', proven: 2, unproven: 1 },
        { port: 'api', proven: null, unproven: 0 },
        { port: 'metrics', proven: null, unproven: 0 },
      ],
    },
    now: () => now,
    answered: (method, route, status) => {
      world.answered.push({ method, route, status });
    },
    refused: () => {},
    fault: (error) => {
      world.faults.push(error);
    },
  };
}

export interface ApiServer {
  readonly url: string;
  readonly ca: string;
  readonly caFile: string;
  readonly dir: string;
  close(): Promise<void>;
}

/** A real API over TLS on a free port of loopback. */
export async function startApi(world: World): Promise<ApiServer> {
  const dir = mkdtempSync(join(tmpdir(), 'assay-api-'));
  const names = ['localhost', '127.0.0.1'];
  await putIdentity(dir, names);
  const identity = await identityIn(dir, names, Date.now());
  const tls = { key: identity.key, cert: identity.chain };
  const admission = quietAdmission();
  const api = createApi({ ...portsOf(world), known: (socket) => admission.visitor(socket)?.prove() });
  const answer: RequestListener = (message, response) => {
    if (world.earlier)
      message.url = message.url
        ?.replace(/^\/v1\/(?:references\/.*\/simulate$|events\b)/, '/v1/unknown')
        .replace(/^(\/v1\/audit\?.*)\border=/, '$1unknown=');
    api(message, response);
  };
  const listening: Listening = await listenSecurely(answer, tls, { host: '127.0.0.1', port: 0 }, admission);
  return {
    url: `https://localhost:${listening.port}`,
    ca: identity.ca,
    caFile: identity.caFile,
    dir,
    async close() {
      await listening[Symbol.asyncDispose]();
      rmSync(dir, { recursive: true });
    },
  };
}

export interface Asked {
  readonly status: number;
  readonly headers: Readonly<Record<string, string | string[] | undefined>>;
  readonly text: string;
}

export interface Ask {
  readonly method?: string;
  readonly token?: string | null;
  readonly body?: string;
  readonly headers?: Readonly<Record<string, string>>;
}

export function ask({ url, ca }: ApiServer, path: string, options: Ask = {}): Promise<Asked> {
  const { method = 'GET', token = 'reader-token', body } = options;
  return new Promise((resolve, reject) => {
    const request = httpsRequest(
      `${url}${path}`,
      {
        ca,
        agent: false,
        method,
        headers: {
          ...(token !== null && { authorization: `Bearer ${token}` }),
          ...(body !== undefined && { 'content-type': 'application/json' }),
          ...options.headers,
        },
      },
      (response) => {
        const chunks: Buffer[] = [];
        response.on('data', (chunk: Buffer) => chunks.push(chunk));
        response.on('end', () => {
          const status = response.statusCode ?? 0;
          const text = Buffer.concat(chunks).toString();
          try {
            checkIsDescribed(method, path, status, text);
            resolve({ status, headers: response.headers, text });
          } catch (error) {
            reject(error);
          }
        });
      },
    );
    request.on('error', reject);
    request.end(body);
  });
}

/** Whatever the API answers is what the row of its table says, and so what `/openapi.json` says. */
function checkIsDescribed(method: string, path: string, status: number, text: string): void {
  if (method === 'HEAD' || status === 304) {
    assert.equal(text, '');
    return;
  }
  const pathname = path.replace(/\?.*/s, '');
  const row = routes.find((each) => each.method === method && each.pattern.test({ pathname }));
  const [, told = text] = (status === 200 && row?.events && /^data: (.*)$/m.exec(text)) || [];
  const answer: unknown = JSON.parse(told);
  const other = row?.others?.[status];
  if (other !== undefined) other.parse(answer);
  else if (status >= 400) problem.parse(answer);
  else {
    assert.equal(status, row?.status ?? 200, `${method} ${path}`);
    (row?.events ?? row?.answer)?.parse(answer);
  }
}
