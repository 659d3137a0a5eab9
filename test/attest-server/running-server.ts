import { X509Certificate } from 'node:crypto';
import { once } from 'node:events';
import { mkdir, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { type IncomingMessage, request as plainRequest } from 'node:http';
import { request } from 'node:https';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { pino } from 'pino';
import type { HistoryEntry, NodeStatus } from '../../attest-server/attest/ports.ts';
import type { BackupConfig } from '../../attest-server/backups/open.ts';
import { serverConfig } from '../../attest-server/config.ts';
import type { Cluster } from '../../attest-server/enrolment/cluster.ts';
import type { AuditEntry } from '../../attest-server/formats/audit.ts';
import { type AuditKeyCopy, showCopy } from '../../attest-server/formats/audit-key-copy.ts';
import type { StreamTimings } from '../../attest-server/http/event-streams.ts';
import type { PresenceConfig } from '../../attest-server/presence/presence.ts';
import { type RunningServer, startServer } from '../../attest-server/server.ts';
import type { Store } from '../../attest-server/store/open.ts';
import { lastingPort } from '../../swtpm-fixtures/lasting-port.ts';
import { bootPolicyFile } from './boot-policy.ts';
import { testAuthorityCertificate } from './forged-tpm.ts';
import { openMadeStore } from './store/made-store.ts';
import { putIdentity } from './tls/made-identity.ts';

export interface ServerSettings {
  /** Default `bootPolicyFile`. */
  readonly policy?: string;
  /** Whether the server is on trial, asked at each start; default: it is not. */
  readonly trial?: () => boolean;
  /** Seconds; the defaults never challenge a second time during a test. */
  readonly challengeEvery?: number;
  readonly answerWithin?: number;
  readonly unknownAfter?: number;
  readonly helloWithin?: number;
  readonly pingEvery?: number;
  readonly firstUsePerSource?: number;
  /** What one source may have; by default far more than a server gives, since all of a test is one source. */
  readonly sources?: Partial<Record<'connections' | 'connectionsPerSecond' | 'unprovenMiB', number>>;
  /** Of the server, in its certificate; default: those of the loopback. */
  readonly names?: readonly string[];
  /** Folders of authorities; default: that of forged TPMs. */
  readonly endorsementRoots?: readonly string[];
  /** Default: the server is in none. */
  readonly cluster?: Cluster;
  /** Milliseconds. */
  readonly presence?: PresenceConfig;
  readonly cloudProgram?: string;
  readonly cloudEnvironment?: Readonly<Record<string, string>>;
  /** Path of a kubeconfig; default: the server is in no cluster. */
  readonly kubeconfig?: string;
  /** From whom it wants a token of that cluster; default: from all. */
  readonly agentTokens?: 'always' | 'never';
  /** Service account of its agents; default: one in the namespace of the server. */
  readonly agentAccount?: string;
  /** `NAMESPACE/NAME` of the ConfigMap with its authorities; default: none. */
  readonly authorityConfigMap?: string;
  readonly webhook?: { readonly url: string; readonly secretFile: string };
  /** The Node that it runs on; default: it knows of none. */
  readonly ownNode?: string;
  /** Where the state folder is made; default: the folder for temporary files. */
  readonly within?: string;
  readonly metricsPerNode?: boolean;
  /** Of IMA's list, of one node and boot. */
  readonly imaListMiB?: number;
  /** Of all kinds together, of one node. */
  readonly nodeDiskMiB?: number;
  /** Directory and keys; it is looked at each 50 ms. */
  readonly declared?: { readonly directory: string; readonly keys: readonly string[] };
  /** Of streams of events. */
  readonly streamTimings?: StreamTimings;
  /** Whether who captures a reference may not approve it. */
  readonly separateApprovals?: boolean;
  /** Milliseconds. */
  readonly certificateLookedAtEvery?: number;
  /** Of keys, which it shares with other servers and looks at each 50 ms; default: the state folder. */
  readonly keysDir?: string;
  /** File of the keys that wrap those of disks; default: none. */
  readonly wrappingKeyFile?: string;
  /** Copies that it makes by itself; default: none. */
  readonly backup?: BackupConfig;
  /** Done to the state folder before the server starts. */
  readonly prepare?: (stateDir: string) => Promise<void>;
}

/** A whole server on free ports of the loopback, with a state folder of its own. */
export interface TestServer extends AsyncDisposable {
  readonly stateDir: string;
  /** PEM of the authority at the start. */
  readonly ca: string;
  readonly server: RunningServer;
  /** Every verdict, in the order in which they were committed. */
  readonly verdicts: readonly HistoryEntry[];
  /** A second handle on the store's file: what is on disk. */
  readonly store: Store;
  /** Calls the API as an administrator; gives the body of a 2xx. */
  call(method: 'GET' | 'POST' | 'DELETE', path: string, body?: object): Promise<unknown>;
  /** Calls the API with this token, or none, and gives whatever it answers. */
  ask(method: string, path: string, token: string | null, body?: object): Promise<ApiAnswer>;
  /** Environment of a command line that asks it, with the token in this file of the state folder: the administrator's, if none is given. */
  env(tokenFile?: string): Readonly<Record<string, string>>;
  /** What whoever enables trust shows. */
  auditKeyCopy(): Promise<AuditKeyCopy>;
  pin(node: string, ekDigest: string): Promise<void>;
  /** What the token file of a node holds. */
  joinToken(node: string, ttlSeconds?: number): Promise<string>;
  /** Value of one series of /metrics; 0 where there is none. */
  metric(series: string): Promise<number>;
  /** The whole text of /metrics. */
  metrics(): Promise<string>;
  audit(): Promise<readonly AuditEntry[]>;
  status(node: string): Promise<NodeStatus | null>;
  /** Resolves once `found` gives something, or fails after the time: a minute, if none is given. */
  until<T>(found: () => T | Promise<T>, withinMs?: number): Promise<NonNullable<T>>;
  /** Ends the server and starts it again on the same state and agent port. @param meanwhile done while it is down */
  restart(meanwhile?: () => Promise<void>): Promise<void>;
}

export async function startTestServer(settings: ServerSettings = {}): Promise<TestServer> {
  const stateDir = await mkdtemp(join(settings.within ?? tmpdir(), 'assay-server-'));
  const rootsDir = join(stateDir, 'roots');
  await mkdir(rootsDir);
  await writeFile(join(rootsDir, 'root.pem'), new X509Certificate(testAuthorityCertificate).toString());
  await settings.prepare?.(stateDir);
  if (settings.keysDir === undefined)
    await putIdentity(stateDir, settings.names ?? ['localhost', '127.0.0.1']);
  const verdicts: HistoryEntry[] = [];
  const start = (agentPort: number) =>
    startServer(
      {
        ...serverConfig(
          null,
          {},
          {
            stateDir,
            keysDir: settings.keysDir,
            'keys.wrappingKeyFile': settings.wrappingKeyFile,
            host: '127.0.0.1',
            agentPort,
            names: settings.names,
            apiPort: 0,
            metricsPort: 0,
            policy: settings.policy ?? bootPolicyFile,
            trial: settings.trial?.() ?? false,
            endorsementRoots: settings.endorsementRoots ?? [rootsDir],
            challengeEverySeconds: settings.challengeEvery ?? 300,
            answerWithinSeconds: settings.answerWithin ?? 30,
            unknownAfterSeconds: settings.unknownAfter ?? 900,
            firstUsePerSource: settings.firstUsePerSource ?? 256,
            cloudProgram: settings.cloudProgram ?? null,
            'kubernetes.api': settings.kubeconfig,
            'kubernetes.namespace': 'assay',
            'kubernetes.agentAccount': settings.agentAccount ?? 'assay-agent',
            'kubernetes.agentTokens': settings.agentTokens,
            'kubernetes.authorityConfigMap': settings.authorityConfigMap,
            'webhook.url': settings.webhook?.url ?? null,
            'webhook.secretFile': settings.webhook?.secretFile ?? null,
            'marks.ownNode': settings.ownNode,
            'sources.connections': settings.sources?.connections ?? 8_000,
            'sources.connectionsPerSecond': settings.sources?.connectionsPerSecond ?? 2_000,
            'sources.unprovenMiB': settings.sources?.unprovenMiB,
            'metrics.perNode': settings.metricsPerNode,
            imaListMiB: settings.imaListMiB,
            nodeDiskMiB: settings.nodeDiskMiB,
            'approvals.separate': settings.separateApprovals,
          },
        ),
        ...(settings.helloWithin !== undefined && { helloWithin: settings.helloWithin * 1000 }),
        ...(settings.pingEvery !== undefined && { pingEvery: settings.pingEvery * 1000 }),
        // A test looks again at once.
        scrapeKeptFor: 0,
        ...(settings.streamTimings !== undefined && { streamTimings: settings.streamTimings }),
        sharedKeysLookedAtEvery: 50,
        certificateLookedAtEvery: settings.certificateLookedAtEvery ?? 3_600_000,
        ...(settings.declared !== undefined && { declared: { ...settings.declared, lookEvery: 50 } }),
        backup: settings.backup ?? null,
        ...(settings.presence !== undefined && { presence: settings.presence }),
      },
      {
        logger: pino({ level: 'silent' }),
        recorded: (entry) => verdicts.push(entry),
        ...(settings.cluster !== undefined && { cluster: settings.cluster }),
        ...(settings.cloudEnvironment !== undefined && { cloudEnvironment: settings.cloudEnvironment }),
      },
    );
  let server = await start(await lastingPort());
  const readCa = () => readFile(server.caFile, 'utf8');
  const ca = await readCa();
  const token = (await readFile(join(stateDir, 'admin.token'), 'utf8')).trim();
  const store = await openMadeStore(join(stateDir, 'assay.db'));

  const call = async (method: 'GET' | 'POST' | 'DELETE', path: string, body?: object) => {
    const { status, text } = await ask({
      port: server.apiPort,
      ca: await readCa(),
      token,
      method,
      path,
      body,
    });
    if (status >= 300) throw new Error(`${method} ${path}: ${status} ${text}`);
    return JSON.parse(text) as unknown;
  };
  return {
    stateDir,
    ca,
    get server() {
      return server;
    },
    verdicts,
    store,
    call,
    ask: async (method, path, bearer, body) =>
      ask({ port: server.apiPort, ca: await readCa(), token: bearer, method, path, body }),
    async auditKeyCopy() {
      const copy = showCopy(await readFile(join(stateDir, 'audit.key'), 'utf8'));
      if (copy === null) throw new Error('the server has no audit key');
      return copy;
    },
    async pin(node, ek) {
      await call('POST', '/v1/pins', { pins: [{ node, ek }] });
    },
    async joinToken(node, ttlSeconds = 3600) {
      const answer = await call('POST', '/v1/join-tokens', { node, ttlSeconds });
      if (typeof answer !== 'object' || answer === null || !('token' in answer)) throw new Error('no token');
      return String(answer.token);
    },
    metrics: () => metricsOf(server.metricsPort),
    async metric(series) {
      const text = await metricsOf(server.metricsPort);
      const line = text.split('\n').find((each) => each.startsWith(`${series} `));
      return line === undefined ? 0 : Number(line.slice(series.length + 1));
    },
    env: (tokenFile = 'admin.token') => ({
      ASSAY_SERVER: `https://127.0.0.1:${server.apiPort}`,
      ASSAY_TOKEN_FILE: join(stateDir, tokenFile),
      ASSAY_CA_FILE: server.caFile,
    }),
    audit: () => store.audit.entries({ limit: 10_000 }),
    status: (node) => store.verdicts.status(node),
    async until(found, withinMs = 60_000) {
      for (const end = performance.now() + withinMs; ; ) {
        const looked = performance.now();
        const value = await found();
        if (value) return value;
        const now = performance.now();
        if (now > end) throw new Error(`not in ${withinMs} ms: ${found}`);
        // What takes long to look at is looked at less often: it keeps the server from what is waited for.
        await sleep(Math.max(10, Math.min(200, 10 * (now - looked))));
      }
    },
    async restart(meanwhile) {
      const { agentPort } = server;
      await server.close();
      await meanwhile?.();
      server = await start(agentPort);
    },
    async [Symbol.asyncDispose]() {
      await store[Symbol.asyncDispose]();
      await server.close();
      await rm(stateDir, { recursive: true, force: true });
    },
  };
}

let scrapes = 0;

/** Each time from another address of the loopback: the door takes few connections of one that comes so often. */
async function metricsOf(port: number): Promise<string> {
  scrapes += 1;
  const localAddress = `127.200.${(scrapes >> 8) & 255}.${scrapes & 255}`;
  const call = plainRequest({ host: '127.0.0.1', port, path: '/metrics', localAddress, agent: false }).end();
  const [answer] = (await once(call, 'response')) as [IncomingMessage];
  return Buffer.concat(await answer.toArray()).toString('utf8');
}

interface ApiAnswer {
  readonly status: number;
  readonly text: string;
}

interface Question {
  readonly port: number;
  readonly ca: string;
  readonly token: string | null;
  readonly method: string;
  readonly path: string;
  readonly body: object | undefined;
}

/** Calls the API of a server, and gives whatever it answers. */
export function ask({ port, ca, token, method, path, body }: Question): Promise<ApiAnswer> {
  return new Promise((resolve, reject) => {
    const headers = {
      ...(token !== null && { authorization: `Bearer ${token}` }),
      'content-type': 'application/json',
    };
    const call = request({ host: '127.0.0.1', port, ca, method, path, headers, agent: false }, (answer) => {
      let text = '';
      answer.setEncoding('utf8');
      answer.on('data', (part: string) => {
        text += part;
      });
      answer.on('end', () => resolve({ status: answer.statusCode ?? 0, text }));
    });
    call.once('error', reject);
    call.end(body === undefined ? undefined : JSON.stringify(body));
  });
}
