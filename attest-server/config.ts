import { hostname } from 'node:os';
import { relative, resolve } from 'node:path';
import { z } from 'zod';
import type { BackupConfig } from './backups/open.ts';
import type { WrappingConfig } from './custody/wrapping-keys.ts';
import type { DeclaredConfig } from './declared/open.ts';
import { defaultTaintKeys, tokenAudience } from './formats/marks.ts';
import type { KubernetesConfig } from './kubernetes/open.ts';
import {
  type ConfigFile,
  type Contradiction,
  type FormerSettings,
  logLevel,
  path,
  resolveSettings,
  type SettingFlags,
  type SettingSources,
  type Settings,
  type SettingValues,
} from './settings/settings.ts';
import type { WebhookConfig } from './webhook/endpoint.ts';
import { limits, timings } from './wire/limits.ts';

const notPort = 'not a port: a whole number from 0 to 65535';
const port = z.int(notPort).min(0, notPort).max(65_535, notPort);
const upTo = (most: number) => {
  const text = `not a number above 0 and at most ${most}`;
  return z.number(text).positive(text).max(most, text);
};
const count = (most: number) => {
  const text = `not a whole number from 1 to ${most}`;
  return z.int(text).min(1, text).max(most, text);
};
const seconds = upTo(86_400);
const days = upTo(36_500);
const notLabel = 'not the name of a namespace';
const label = z.string(notLabel).regex(/^[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?$/, notLabel);
const notTaint = 'not the key of a taint: a name, or PREFIX/NAME';
const taintKey = z
  .string(notTaint)
  .regex(
    /^([a-z0-9]([-.a-z0-9]{0,251}[a-z0-9])?\/)?[A-Za-z0-9]([-_.A-Za-z0-9]{0,61}[A-Za-z0-9])?$/,
    notTaint,
  );
const notConfigMap = 'not NAMESPACE/NAME of a ConfigMap';
const notAccount = 'not NAME or NAMESPACE/NAME of a service account';

const notWebhook =
  'not https://HOST/PATH (http:// for an address of this machine only), without user, password and fragment';
const webhookUrl = z
  .string(notWebhook)
  .max(2048, notWebhook)
  .regex(
    /^(https:\/\/[^\s/?#@\\]+|http:\/\/(localhost|127(\.\d{1,3}){3}|\[::1\])(:\d{1,5})?)([/?][^\s#]*)?$/,
    notWebhook,
  )
  .refine((text) => URL.canParse(text), notWebhook);

/** Every key of the server's configuration; docs/reference-configuration.md follows. */
export const serverSettings = {
  stateDir: {
    variable: 'ASSAY_STATE_DIR',
    flag: '--state-dir',
    schema: path.default('/var/lib/assay').describe('folder of the store, keys and tokens; mode 0700'),
  },
  keysDir: {
    variable: 'ASSAY_KEYS_DIR',
    schema: path
      .nullable()
      .default(null)
      .describe(
        'folder of the audit key and the TLS authorities, which several servers may share; mode 0700; without it the state folder',
      ),
  },
  'keys.wrappingKeyFile': {
    variable: 'ASSAY_KEYS_WRAPPING_KEY_FILE',
    schema: path
      .nullable()
      .default(null)
      .describe(
        'file of the keys that wrap the keys of disks: 32 bytes of base64 a line, the newest first; mode 0400, and never beside the database or its backups. Without it no key of a disk is kept or given',
      ),
  },
  host: {
    variable: 'ASSAY_HOST',
    schema: z
      .string('not an address')
      .min(1, 'not an address')
      .default('0.0.0.0')
      .describe('address to listen on'),
  },
  agentPort: {
    variable: 'ASSAY_AGENT_PORT',
    unit: 'port',
    schema: port.default(8443).describe('where agents connect (WebSocket over TLS 1.3); 0 takes a free one'),
  },
  apiPort: {
    variable: 'ASSAY_API_PORT',
    unit: 'port',
    schema: port.default(8444).describe('the API (HTTPS)'),
  },
  metricsPort: {
    variable: 'ASSAY_METRICS_PORT',
    unit: 'port',
    schema: port.default(9464).describe('`/metrics`, `/livez`, `/readyz` (plain HTTP, no credentials)'),
  },
  names: {
    variable: 'ASSAY_NAMES',
    unit: 'list',
    schema: z
      .array(z.string('not a host name or address').regex(/^[0-9A-Za-z.:-]+$/, 'not a host name or address'))
      .min(1, 'empty: the certificate needs a name')
      .default(['localhost', '127.0.0.1'])
      .describe("host names and addresses in the server's certificate"),
  },
  policy: {
    variable: 'ASSAY_POLICY',
    flag: '--policy',
    schema: path.default('observe').describe('`observe`, `strict`, or a policy file'),
  },
  'declared.directory': {
    variable: 'ASSAY_DECLARED_DIRECTORY',
    schema: path
      .nullable()
      .default(null)
      .describe(
        'signed directory of references, pins and policy, such as a checkout of Git or a mounted ConfigMap; its content can be changed only there',
      ),
  },
  'declared.keys': {
    variable: 'ASSAY_DECLARED_KEYS',
    unit: 'list',
    schema: z
      .array(path)
      .default([])
      .describe(
        'who may sign it: public keys of SSH or minisign, each as one line or as the path of a file of such lines',
      ),
  },
  endorsementRoots: {
    variable: 'ASSAY_ENDORSEMENT_ROOTS',
    unit: 'list',
    schema: z
      .array(path)
      .min(1, 'empty: say builtin, none, or folders')
      .refine((names) => names.length === 1 || !names.includes('none'), 'none stands alone')
      .default(['builtin'])
      .describe(
        'who may endorse TPMs: `builtin` (the roots of TPM makers), folders, or both; or `none`. In a folder, `*.pem` are roots and `intermediates/*.pem` are authorities below them',
      ),
  },
  cloudProgram: {
    variable: 'ASSAY_CLOUD_PROGRAM',
    schema: z
      .string('not an absolute path')
      .regex(/^\/[^\0]*$/, 'not an absolute path')
      .nullable()
      .default(null)
      .describe(
        "absolute path of a program that gives, for a providerID, the digest of the machine's endorsement key; needs `kubernetes.api`",
      ),
  },
  'kubernetes.api': {
    variable: 'ASSAY_KUBERNETES_API',
    schema: path
      .default('none')
      .describe(
        'the cluster that the server is in: `none`, `pod` (by the service account of its pod), or the path of a kubeconfig',
      ),
  },
  'kubernetes.namespace': {
    variable: 'ASSAY_KUBERNETES_NAMESPACE',
    schema: label
      .nullable()
      .default(null)
      .describe(
        "namespace of the server; without it that of its pod or of the kubeconfig's context, else `assay`",
      ),
  },
  'kubernetes.agentAccount': {
    variable: 'ASSAY_KUBERNETES_AGENT_ACCOUNT',
    schema: z
      .string(notAccount)
      .regex(/^([a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?\/)?[a-z0-9]([-.a-z0-9]{0,251}[a-z0-9])?$/, notAccount)
      .default('assay-agents/assay-agent')
      .describe("service account of agents: `NAMESPACE/NAME`, or its name in the server's namespace"),
  },
  'kubernetes.agentTokens': {
    variable: 'ASSAY_KUBERNETES_AGENT_TOKENS',
    schema: z
      .enum(['always', 'nodes', 'never'], 'not one of always, nodes, never')
      .default('always')
      .describe(
        'which agents must show a cluster token at each connection: `always`, `nodes` (those under the name of a Node; machines outside the cluster need none), `never`',
      ),
  },
  'kubernetes.operatorAudience': {
    variable: 'ASSAY_KUBERNETES_OPERATOR_AUDIENCE',
    schema: z
      .string('not an audience')
      .regex(/^[\x21-\x7e]{1,253}$/, 'not an audience')
      .default(tokenAudience)
      .describe(
        'audience of the tokens with which people of the cluster use the server’s API; `api`: that of the cluster’s API; `none`: the cluster makes nobody an operator here',
      ),
  },
  'kubernetes.authorityConfigMap': {
    variable: 'ASSAY_KUBERNETES_AUTHORITY_CONFIG_MAP',
    schema: z
      .string(notConfigMap)
      .regex(/^[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?\/[a-z0-9]([-.a-z0-9]{0,251}[a-z0-9])?$/, notConfigMap)
      .nullable()
      .default(null)
      .describe(
        '`NAMESPACE/NAME` of the ConfigMap in whose key `ca.crt` the server keeps its authorities for agents; it must exist. Needs `kubernetes.api`',
      ),
  },
  'kubernetes.host': {
    variable: 'KUBERNETES_SERVICE_HOST',
    schema: z
      .string('not a host name or address')
      .regex(/^[0-9A-Za-z.:-]{1,253}$/, 'not a host name or address')
      .default('kubernetes.default.svc')
      .describe('where a pod reaches the API; the kubelet sets the variable'),
  },
  'kubernetes.port': {
    variable: 'KUBERNETES_SERVICE_PORT',
    unit: 'port',
    schema: port.default(443).describe('the port for it'),
  },
  'marks.pendingTaint': {
    variable: 'ASSAY_MARKS_PENDING_TAINT',
    schema: taintKey
      .default(defaultTaintKeys.pending)
      .describe('key of the taint of a node that never proved itself: for autoscalers a startup taint'),
  },
  'marks.reprovingTaint': {
    variable: 'ASSAY_MARKS_REPROVING_TAINT',
    schema: taintKey
      .default(defaultTaintKeys.reproving)
      .describe('key of the taint of a known node that has not proven its boot; no startup taint'),
  },
  'marks.untrustedTaint': {
    variable: 'ASSAY_MARKS_UNTRUSTED_TAINT',
    schema: taintKey
      .default(defaultTaintKeys.untrusted)
      .describe('key of the taint of an untrusted node: for autoscalers a status taint'),
  },
  'marks.ownNode': {
    variable: 'ASSAY_MARKS_OWN_NODE',
    schema: z
      .string('not the name of a Node')
      .regex(/^[a-z0-9]([-.a-z0-9]{0,251}[a-z0-9])?$/, 'not the name of a Node')
      .nullable()
      .default(null)
      .describe(
        'the node that the server runs on (`spec.nodeName` of its pod), which is never marked and has no disk keys',
      ),
  },
  'breaker.onExpiry': {
    variable: 'ASSAY_BREAKER_ON_EXPIRY',
    schema: z
      .enum(['hold', 'taint'], 'not one of hold, taint')
      .default('hold')
      .describe(
        'what happens to taints that the breaker holds back if nobody decides within half an hour: `hold` or `taint`',
      ),
  },
  'breaker.refusePolicyPercent': {
    variable: 'ASSAY_BREAKER_REFUSE_POLICY_PERCENT',
    unit: 'percent',
    schema: z
      .number('not a number from 1 to 100')
      .min(1, 'not a number from 1 to 100')
      .max(100, 'not a number from 1 to 100')
      .default(10)
      .describe(
        'a policy that would make more than this share of the trusted nodes (and at least three) untrusted is refused until an administrator allows it; 100: none is refused',
      ),
  },
  'gone.archiveDays': {
    variable: 'ASSAY_GONE_ARCHIVE_DAYS',
    unit: 'days',
    schema: days
      .default(30)
      .describe(
        'how long a node is gone before its record is archived: its keys and history stay, the evidence of its latest verdict is erased',
      ),
  },
  'webhook.url': {
    variable: 'ASSAY_WEBHOOK_URL',
    schema: webhookUrl
      .nullable()
      .default(null)
      .describe(
        'where to send events: an `https://` URL, or `http://` on this machine. The log shows it: secrets go into `webhook.secretFile`',
      ),
  },
  'webhook.secretFile': {
    variable: 'ASSAY_WEBHOOK_SECRET_FILE',
    schema: path
      .nullable()
      .default(null)
      .describe('file of the secret that signs messages: `whsec_` and base64; one a line, the newest first'),
  },
  'webhook.caFile': {
    variable: 'ASSAY_WEBHOOK_CA_FILE',
    schema: path
      .nullable()
      .default(null)
      .describe("PEM of the authorities of the receiver's certificate; without it the public ones"),
  },
  'backup.everyHours': {
    variable: 'ASSAY_BACKUP_EVERY_HOURS',
    unit: 'hours',
    schema: upTo(8_760)
      .nullable()
      .default(null)
      .describe('time between two automatic backups; without it there are none'),
  },
  'backup.directory': {
    variable: 'ASSAY_BACKUP_DIRECTORY',
    schema: path
      .nullable()
      .default(null)
      .describe(
        'folder for them, which several servers may share; mode 0700. Best on another disk, and never in the state folder',
      ),
  },
  'backup.keep': {
    variable: 'ASSAY_BACKUP_KEEP',
    schema: count(10_000)
      .default(7)
      .describe('how many of them this server keeps there; older ones are removed'),
  },
  trial: {
    variable: 'ASSAY_TRIAL',
    schema: z
      .boolean('neither true nor false')
      .default(false)
      .describe(
        'for machines with a software TPM, which proves nothing: every verdict says so, every group is held in `observe`, and nodes that enrol now are refused once this is off, until somebody approves them',
      ),
  },
  logLevel: {
    variable: 'ASSAY_LOG_LEVEL',
    flag: '--log-level',
    schema: logLevel,
  },
  challengeEverySeconds: {
    variable: 'ASSAY_CHALLENGE_EVERY_SECONDS',
    unit: 'seconds',
    schema: seconds.default(timings.challengeEvery / 1000).describe('time between two challenges of a node'),
  },
  'sources.connections': {
    variable: 'ASSAY_SOURCES_CONNECTIONS',
    schema: count(1_000_000)
      .default(256)
      .describe(
        'connections that one source may hold on a port before it says who it is; at least four times `sources.connectionsPerSecond`',
      ),
  },
  'sources.connectionsPerSecond': {
    variable: 'ASSAY_SOURCES_CONNECTIONS_PER_SECOND',
    unit: 'a second',
    schema: count(100_000)
      .default(64)
      .describe(
        'new connections of one source on a port; a burst may have twice as many, more are refused before TLS',
      ),
  },
  'sources.unprovenMiB': {
    variable: 'ASSAY_SOURCES_UNPROVEN_MIB',
    unit: 'MiB',
    schema: count(256).default(32).describe('data that all unproven connections of one source may send'),
  },
  answerWithinSeconds: {
    variable: 'ASSAY_ANSWER_WITHIN_SECONDS',
    unit: 'seconds',
    schema: seconds
      .default(timings.answerWithin / 1000)
      .describe('time for an answer to a challenge to arrive'),
  },
  unknownAfterSeconds: {
    variable: 'ASSAY_UNKNOWN_AFTER_SECONDS',
    unit: 'seconds',
    schema: seconds
      .default(timings.unknownAfter / 1000)
      .describe('time without a verdict after which a node is `unknown`; at least `challengeEverySeconds`'),
  },
  summarySeconds: {
    variable: 'ASSAY_SUMMARY_SECONDS',
    unit: 'seconds',
    schema: seconds
      .default(timings.summaryEvery / 1000)
      .describe('equal verdicts within this time share one row of the history'),
  },
  evidenceDays: {
    variable: 'ASSAY_EVIDENCE_DAYS',
    unit: 'days',
    schema: days.default(30).describe('how long the evidence behind each row of the history is kept'),
  },
  transitionEvidenceDays: {
    variable: 'ASSAY_TRANSITION_EVIDENCE_DAYS',
    unit: 'days',
    schema: days
      .default(400)
      .describe(
        'how long the evidence of changes of state, and of keys of disks that were given or refused, is kept; at least `evidenceDays`',
      ),
  },
  imaListMiB: {
    variable: 'ASSAY_IMA_LIST_MIB',
    unit: 'MiB',
    schema: count(256)
      .default(limits.ima.list / 1024 / 1024)
      .describe(
        'how much of IMA’s list (what ran) is kept for one node and boot; a node with a longer one has `ima_incomplete`',
      ),
  },
  nodeDiskMiB: {
    variable: 'ASSAY_NODE_DISK_MIB',
    unit: 'MiB',
    schema: count(1_048_576)
      .default(256)
      .describe(
        'how much evidence of all kinds together is kept for one node; never more than a twentieth of the file system',
      ),
  },
  initrdUploads: {
    variable: 'ASSAY_INITRD_UPLOADS',
    schema: count(16)
      .default(2)
      .describe('how many initrds nodes send at a time, if the policy says `initrd: contents`; others wait'),
  },
  initrdManifestsMiB: {
    variable: 'ASSAY_INITRD_MANIFESTS_MIB',
    unit: 'MiB',
    schema: count(4096)
      .default(512)
      .describe('room for the manifests of initrds; those that no node boots any longer give way'),
  },
  firstUsePerSource: {
    variable: 'ASSAY_FIRST_USE_PER_SOURCE',
    schema: z
      .int('not a whole number from 0 to 1000000')
      .min(0, 'not a whole number from 0 to 1000000')
      .max(1_000_000, 'not a whole number from 0 to 1000000')
      .default(256)
      .describe('how many nodes from one address `first-use` may bind; approved nodes do not count'),
  },
  'metrics.perNode': {
    variable: 'ASSAY_METRICS_PER_NODE',
    schema: z
      .boolean('neither true nor false')
      .default(true)
      .describe('whether `/metrics` has series for each node; alert rules that name a node need them'),
  },
  'approvals.separate': {
    variable: 'ASSAY_APPROVALS_SEPARATE',
    schema: z
      .boolean('neither true nor false')
      .default(false)
      .describe('the person who captured a reference may not approve it; captures are then staged'),
  },
} as const satisfies Settings;

/** Of 0.3.0; the version after this one refuses them. */
export const formerServerSettings: FormerSettings = {
  helloWithinSeconds: {
    variable: 'ASSAY_HELLO_WITHIN_SECONDS',
    instead: 'a connection has 10 seconds to the request, and an agent as many more to its hello',
  },
  'gone.afterSeconds': {
    variable: 'ASSAY_GONE_AFTER_SECONDS',
    instead: 'a node without a Node in the cluster is gone after 600 seconds of silence',
  },
};

/** @throws ConfigError with every fault at once */
export function serverConfig(
  file: ConfigFile | null,
  environment: Readonly<Record<string, string | undefined>>,
  flags: SettingFlags<typeof serverSettings> = {},
): ServerConfig {
  return configOf(serverValues({ file, environment, flags }));
}

export type ServerValues = SettingValues<typeof serverSettings>;

/** The value of each setting as it was given. @throws ConfigError with every fault at once */
export function serverValues(sources: SettingSources<typeof serverSettings>): ServerValues {
  return resolveSettings(serverSettings, sources, contradictionsIn, formerServerSettings);
}

/** Configuration of a server, complete and checked. Times are in milliseconds, sizes in bytes. */
export type ServerConfig = Readonly<ReturnType<typeof configOf>>;

export function configOf(values: ServerValues) {
  // How long a new connection may take to say who it is, and from one ping to the next; tests have others.
  const { helloWithin, pingEvery }: Readonly<Record<'helloWithin' | 'pingEvery', number>> = timings;
  return {
    stateDir: values.stateDir,
    keysDir: values.keysDir ?? values.stateDir,
    wrapping: wrappingOf(values),
    host: values.host,
    agentPort: values.agentPort,
    apiPort: values.apiPort,
    metricsPort: values.metricsPort,
    names: values.names,
    policy: values.policy,
    trial: values.trial,
    logLevel: values.logLevel,
    /** Empty: nobody endorses TPMs. */
    endorsementRoots: values.endorsementRoots.filter((name) => name !== 'none'),
    cloudProgram: values.cloudProgram,
    /** Null: the server is in no cluster. */
    kubernetes: kubernetesOf(values),
    marking: {
      keys: {
        pending: values['marks.pendingTaint'],
        reproving: values['marks.reprovingTaint'],
        untrusted: values['marks.untrustedTaint'],
      },
      ownNode: values['marks.ownNode'],
      onExpiry: values['breaker.onExpiry'],
    },
    presence: {
      goneAfter: 600_000,
      archiveAfter: values['gone.archiveDays'] * 86_400_000,
    },
    webhook: webhookOf(values),
    challengeEvery: values.challengeEverySeconds * 1000,
    answerWithin: values.answerWithinSeconds * 1000,
    unknownAfter: values.unknownAfterSeconds * 1000,
    helloWithin,
    pingEvery,
    sources: {
      connections: values['sources.connections'],
      perSecond: values['sources.connectionsPerSecond'],
      unprovenBytes: values['sources.unprovenMiB'] * 1024 * 1024,
    },
    summaryEvery: values.summarySeconds * 1000,
    evidenceFor: values.evidenceDays * 86_400_000,
    transitionEvidenceFor: values.transitionEvidenceDays * 86_400_000,
    imaList: values.imaListMiB * 1024 * 1024,
    nodeDisk: values.nodeDiskMiB * 1024 * 1024,
    initrdUploads: values.initrdUploads,
    initrdManifests: values.initrdManifestsMiB * 1024 * 1024,
    firstUsePerSource: values.firstUsePerSource,
    metricsPerNode: values['metrics.perNode'],
    /** For how long the text of one scrape is that of all. */
    scrapeKeptFor: 1000,
    streamTimings: { commentEvery: 15_000, drainedWithin: 30_000 },
    /** After which time the certificate is looked at again. */
    certificateLookedAtEvery: 3_600_000,
    sharedKeysLookedAtEvery: 5000,
    separateApprovals: values['approvals.separate'],
    /** 1: a policy may make all trusted nodes untrusted. */
    refusedPolicyShare: values['breaker.refusePolicyPercent'] / 100,
    /** For how long a start waits for what a new policy would do. */
    policyComparedWithin: 10_000,
    declared: declaredOf(values),
    backup: backupOf(values),
  };
}

function kubernetesOf(values: ServerValues): KubernetesConfig | null {
  if (values['kubernetes.api'] === 'none') return null;
  return {
    api: values['kubernetes.api'],
    host: values['kubernetes.host'],
    port: values['kubernetes.port'],
    namespace: values['kubernetes.namespace'],
    agentAccount: values['kubernetes.agentAccount'],
    agentTokens: values['kubernetes.agentTokens'],
    operators: operatorsOf(values['kubernetes.operatorAudience']),
    authorityConfigMap: values['kubernetes.authorityConfigMap'],
  };
}

function operatorsOf(audience: string): KubernetesConfig['operators'] {
  return audience === 'none' ? null : { audience: audience === 'api' ? null : audience };
}

function webhookOf(values: ServerValues): WebhookConfig | null {
  const { 'webhook.url': url, 'webhook.secretFile': secretFile, 'webhook.caFile': caFile } = values;
  return url === null || secretFile === null ? null : { url, secretFile, caFile };
}

function declaredOf(values: ServerValues): DeclaredConfig | null {
  const { 'declared.directory': directory, 'declared.keys': keys } = values;
  return directory === null ? null : { directory, keys, lookEvery: 5000 };
}

/** Null if this server holds no keys of disks. */
export function wrappingOf(
  values: Pick<ServerValues, 'keys.wrappingKeyFile' | 'backup.directory' | 'stateDir'>,
): WrappingConfig | null {
  const { 'keys.wrappingKeyFile': file, 'backup.directory': backups, stateDir } = values;
  return file === null ? null : { file, beside: [stateDir, ...(backups === null ? [] : [backups])] };
}

function backupOf(values: ServerValues): BackupConfig | null {
  const { 'backup.everyHours': hours, 'backup.directory': directory, 'backup.keep': keep } = values;
  if (hours === null || directory === null) return null;
  // Of a pod of the StatefulSet that of the pod: it stays the same.
  const instance = hostname()
    .replace(/[^A-Za-z0-9.-]/g, '-')
    .slice(0, 64);
  return { every: hours * 3_600_000, directory, keep, instance };
}

function contradictionsIn(values: Partial<ServerValues>) {
  const { challengeEverySeconds, unknownAfterSeconds, evidenceDays, transitionEvidenceDays } = values;
  const found: Contradiction<typeof serverSettings>[] = [];
  const { 'sources.connections': places, 'sources.connectionsPerSecond': perSecond = 0 } = values;
  if (isLess(places, 4 * perSecond))
    found.push({
      key: 'sources.connections',
      text: 'less than four times sources.connectionsPerSecond: a connection could lose its place within two seconds',
    });
  const taints = ['marks.pendingTaint', 'marks.reprovingTaint', 'marks.untrustedTaint'] as const;
  taints.forEach((key, index) => {
    const same = taints.slice(0, index).find((other) => values[other] === values[key]);
    if (same !== undefined && values[key] !== undefined)
      found.push({ key, text: `the same as ${same}: each taint needs a key of its own` });
  });
  if (typeof values['kubernetes.authorityConfigMap'] === 'string' && values['kubernetes.api'] === 'none')
    found.push({
      key: 'kubernetes.authorityConfigMap',
      text: 'names a ConfigMap, and kubernetes.api is none: say which cluster has it',
    });
  const { 'webhook.url': url, 'webhook.secretFile': secretFile } = values;
  if (typeof url === 'string' && secretFile === null)
    found.push({ key: 'webhook.secretFile', text: 'is missing: webhook.url needs a secret that signs' });
  if (url === null && typeof secretFile === 'string')
    found.push({ key: 'webhook.url', text: 'is missing: webhook.secretFile is for nobody' });
  const { 'declared.directory': directory, 'declared.keys': signers } = values;
  if (typeof directory === 'string' && signers?.length === 0)
    found.push({
      key: 'declared.keys',
      text: 'is missing: declared.directory counts only if a key signed it',
    });
  if (directory === null && signers !== undefined && signers.length > 0)
    found.push({ key: 'declared.directory', text: 'is missing: declared.keys sign nothing' });
  const { 'backup.everyHours': hours, 'backup.directory': backups } = values;
  if (typeof hours === 'number' && backups === null)
    found.push({ key: 'backup.directory', text: 'is missing: backup.everyHours needs a folder to write to' });
  if (hours === null && typeof backups === 'string')
    found.push({
      key: 'backup.everyHours',
      text: 'is missing: without it nothing is written to backup.directory',
    });
  if (typeof backups === 'string' && isWithin(backups, values.stateDir))
    found.push({
      key: 'backup.directory',
      text: 'is in the state folder, and would be lost with it: name a folder on another disk',
    });
  if (isLess(transitionEvidenceDays, evidenceDays))
    found.push({
      key: 'transitionEvidenceDays',
      text: 'less than evidenceDays, which also holds for changes of state',
    });
  if (isLess(unknownAfterSeconds, challengeEverySeconds))
    found.push({
      key: 'unknownAfterSeconds',
      text: 'less than challengeEverySeconds: no node would stay trusted',
    });
  return found;
}

function isWithin(inner: string, outer: string | undefined): boolean {
  return outer !== undefined && relative(resolve(outer), resolve(inner)).split('/')[0] !== '..';
}

function isLess(a: number | undefined, b: number | undefined): boolean {
  return a !== undefined && b !== undefined && a < b;
}
