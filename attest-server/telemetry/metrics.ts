import { Counter, collectDefaultMetrics, Gauge, Histogram, Registry } from 'prom-client';
import type { DoorPort, HitBound } from '../door/bounds.ts';
import { clusterFaults, presenceDoubts, watchRestartReasons } from '../formats/cluster.ts';
import { ourChanges } from '../formats/our-change.ts';
import { type FaultCause, faultCauses, type StorageCause, storageCauses } from '../formats/server-fault.ts';
import type { NodeStanding } from '../http/node-view.ts';
import type { ClusterMetrics } from '../kubernetes/api-health.ts';
import type { PresenceFigures } from '../presence/presence.ts';
import { type GateOpening, gateOpenings } from '../wire/gate.ts';
import { classOf, isReasonCode, type ReasonCode, reasonCodes } from '../wire/reasons.ts';
import { type Aspect, aspects, type NodeState, nodeStates } from '../wire/verdict.ts';
import { type MarkingMetrics, markingMetrics } from './marking-metrics.ts';
import { isMissed, nodeSeries } from './node-series.ts';
import { type WebhookMetrics, webhookMetrics } from './webhook-metrics.ts';

export type Phase = 'verify' | 'appraise' | 'record' | 'total';
/** `accepted`: a verdict was made; `rejected`: the evidence was refused; `fault`: the server failed. */
export type AttestationResult = 'accepted' | 'rejected' | 'fault';

const reloadedParts = ['declared', 'policy', 'roots', 'certificate', 'tokens', 'webhook'] as const;
export type ReloadedPart = (typeof reloadedParts)[number];

interface UnloadedPart {
  readonly part: ReloadedPart;
  /** Of a policy that was refused for it: how many trusted nodes it would make untrusted. */
  readonly refused: { readonly untrusted: number } | null;
}

/** One method per event. No label but a node's name is free text, and none is a digest or a key. */
export interface Metrics extends ClusterMetrics {
  readonly marking: MarkingMetrics;
  readonly webhook: WebhookMetrics;
  attested(result: AttestationResult, reason: ReasonCode | null): void;
  /** A message or connection that was refused before anything was judged. */
  refused(code: ReasonCode): void;
  /** A signature of an endorsement certificate is checked. */
  signatureChecked(): void;
  /** A connection hit a bound of the door and was turned away, or another one for it. */
  turnedAway(port: DoorPort, bound: HitBound): void;
  /** Asked at each scrape what unproven connections hold. */
  unproven(of: (port: DoorPort) => { readonly bytes: number; readonly connections: number }): void;
  /** Asked at each scrape how many bytes of answers proven agents sent that are open or being judged. */
  openAnswers(of: () => number): void;
  /** Asked at each scrape which initrds the server waits for, and what came of them: bytes. */
  initrds(of: () => { readonly waiting: number; readonly received: number; readonly kept: number }): void;
  /** Asked at each scrape which nodes flap. */
  flapping(of: () => readonly string[]): void;
  /** Asked at each scrape how many nodes have spent what judging them may cost, and how many heavy answers wait. */
  judging(of: () => { readonly spent: number; readonly waiting: number }): void;
  duration(phase: Phase, seconds: number): void;
  transition(from: NodeState, to: NodeState): void;
  checkFailed(check: Aspect): void;
  /** Whether the server is on trial. */
  trial(isOn: boolean): void;
  /** Whether nodes can be judged, as `/readyz` says it. */
  ready(isReady: boolean): void;
  /** Replaces what is known of all nodes; series of nodes that are gone go too. */
  nodeStates(nodes: readonly NodeStanding[]): void;
  /** Asked at each scrape who is gone from the cluster. */
  presence(of: () => PresenceFigures): void;
  /** Asked at each look at the nodes which machines say that they have no TPM where policy expects one. */
  claimedWithoutTpm(of: () => readonly string[]): void;
  /** Connected agents by the version that they say, those that are none as `other`; and gates that wait. */
  agents(versions: ReadonlyMap<string, number>, gates: number): void;
  gateOpened(why: GateOpening): void;
  request(method: string, route: string, status: number, seconds: number): void;
  /** Milliseconds since the epoch: until when the server's certificate and its authority are good. */
  certificatesExpire(server: { readonly notAfter: number; readonly authorityNotAfter: number }): void;
  /** @param at seconds since the epoch */
  policyChanged(policy: string, at: number): void;
  /** Which serial of the signed directory is in force; 0: none. */
  declaredSerial(serial: number): void;
  /** The server's certificate is due, and could not be made anew. */
  renewalFailed(): void;
  auditWriteFailed(): void;
  /** The server failed: a write, or while it judged. */
  serverFailed(cause: FaultCause): void;
  /** For which cause nothing can be stored at present; null: it can. */
  storage(cause: StorageCause | null): void;
  /** A part of the configuration was read again and is faulty. */
  reloadFailed(part: ReloadedPart): void;
  /** A row of this table of the store cannot be read; reported once each. */
  rowUnreadable(table: string): void;
  /** A checkpoint of the audit log was signed. @param size entries */
  checkpointed(size: number): void;
  /** A checkpoint was written into the cluster, or could not be. */
  checkpointKept(isKept: boolean): void;
  /** Asked at each scrape whether the audit log is another one than was signed, and nobody has said why. */
  auditRollback(of: () => string | null): void;
  /** Parts whose old form is in force. */
  faultyParts(of: () => readonly UnloadedPart[]): void;
  /** Asked at each scrape whether an earlier policy is in force in place of the one that is given, and whether one is compared. */
  policyHistory(of: {
    /** Since when: milliseconds since the epoch. */
    rollback(): { readonly at: number } | null;
    comparing(): object | null;
  }): void;
  /** The Prometheus text format. */
  text(): Promise<string>;
  readonly contentType: string;
}

export interface MetricsParts {
  readonly version: string;
  /** Whether there are series of each node. */
  readonly perNode: boolean;
  /** Milliseconds between two challenges of a node. */
  readonly challengeEvery: number;
}

export function createMetrics({ version, perNode, challengeEvery }: MetricsParts): Metrics {
  const registry = new Registry();
  collectDefaultMetrics({ register: registry });
  for (const name of ofHeapSpaces) registry.removeSingleMetric(name);
  const known = new Set<string>();
  const registers = [registry];
  const gauge = <L extends string>(name: string, help: string, labelNames: readonly L[]) =>
    new Gauge<L>({ name: `assay_${name}`, help, labelNames: [...labelNames], registers });
  const counter = <L extends string>(name: string, help: string, labelNames: readonly L[]) =>
    new Counter<L>({ name: `assay_${name}`, help, labelNames: [...labelNames], registers });
  const histogram = <L extends string>(
    name: string,
    help: string,
    labelNames: readonly L[],
    bounds: readonly number[],
  ) =>
    new Histogram<L>({
      name: `assay_${name}`,
      help,
      labelNames: [...labelNames],
      buckets: [...bounds],
      registers,
    });

  gauge('build_info', 'Always 1; the label is the version', ['version']).set({ version }, 1);
  gauge('challenge_interval_seconds', 'Time between two challenges of a node', []).set(challengeEvery / 1000);
  const trial = gauge('trial', '1 on a server on trial, whose verdicts count for nothing; else 0', []);
  const nodes = gauge('nodes', 'Nodes by state', ['state']);
  const turned = gauge(
    'nodes_turned',
    'Untrusted nodes that another policy, other references or another version of the server turned, and not what they show',
    ['change'],
  );
  let ofNodes = perNode ? nodeSeries([], [], []) : '';
  const isReady = gauge('ready', '1 while the server can judge nodes, like /readyz; else 0', []);
  const failing = gauge('nodes_failing_check', 'Nodes that a required check does not affirm', ['check']);
  const checkFailures = counter('check_failures_total', 'Verdicts in which a check failed', ['check']);
  const attestations = counter(
    'attestations_total',
    'Pieces of evidence that the server answered, by result',
    ['result', 'reason'],
  );
  const signatures = counter(
    'endorsement_signatures_total',
    'Signatures of endorsement certificates that were checked',
    [],
  );
  const durations = histogram(
    'attestation_duration_seconds',
    'Time in each phase of an attestation',
    ['phase'],
    [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5],
  );
  const transitions = counter('verdict_transitions_total', 'Changes of state', ['from', 'to']);
  const agents = gauge('agents', 'Connected agents by version', ['version']);
  const gates = gauge(
    'gates_waiting',
    'Gates that are connected, have proven their TPM, and hold kubelet back',
    [],
  );
  const gatesOpened = counter('gate_openings_total', 'Gates that let kubelet start, by why', ['why']);
  // Few bounds: each route that is asked has all of them.
  const requests = histogram(
    'http_request_duration_seconds',
    'Time to answer a request',
    ['method', 'route', 'code'],
    [0.005, 0.025, 0.1, 0.5, 2.5],
  );
  const expiries = gauge('certificate_expiry_timestamp_seconds', 'When a certificate ends', ['certificate']);
  const renewalFailures = counter(
    'certificate_renewal_failures_total',
    'Failed renewals of the certificate of the server',
    [],
  );
  const policies = gauge('policy_last_change_timestamp_seconds', 'When another policy came into force', [
    'policy',
  ]);
  const declaredSerial = gauge(
    'declared_serial',
    'Serial of the signed directory that is in force; 0: none',
    [],
  );
  const auditFailures = counter('audit_write_failures_total', 'Audit entries that could not be written', []);
  const serverFaults = counter(
    'server_faults_total',
    'Faults of the server itself while it judged or stored evidence',
    ['cause'],
  );
  const storageFault = gauge('server_fault', '1 while nothing can be stored for this cause, else 0', [
    'cause',
  ]);
  const checkpointSize = gauge('audit_checkpoint_size', 'Entries that the latest checkpoint covers', []);
  const kept = counter(
    'audit_checkpoint_writes_total',
    'Times that the latest checkpoint was written into the cluster',
    ['result'],
  );
  let auditRollback: Parameters<Metrics['auditRollback']>[0] = () => null;
  new Gauge({
    name: 'assay_audit_rollback',
    help: '1 while the audit log is not the one that was signed, until somebody resolves it, else 0',
    registers,
    collect() {
      this.set(auditRollback() === null ? 0 : 1);
    },
  });
  const reloadFailures = counter(
    'reload_failures_total',
    'Parts that were faulty when the server read them again',
    ['part'],
  );
  let faultyParts: Parameters<Metrics['faultyParts']>[0] = () => [];
  new Gauge({
    name: 'assay_reload_faulty',
    help: '1 while the old form of this part is in force, since the new one has faults, else 0',
    labelNames: ['part'],
    registers,
    collect() {
      const faulty = new Set(faultyParts().map(({ part }) => part));
      for (const part of reloadedParts) this.set({ part }, faulty.has(part) ? 1 : 0);
    },
  });
  new Gauge({
    name: 'assay_policy_refused_nodes',
    help: 'Trusted nodes that a policy would make untrusted, which is refused for that; 0: none is refused. -1: it could not be compared',
    labelNames: ['part'],
    registers,
    collect() {
      const refused = new Map(faultyParts().map(({ part, refused }) => [part, refused]));
      for (const part of ['declared', 'policy'] as const)
        this.set({ part }, refusedNodes(refused.get(part) ?? null));
    },
  });
  let history: Parameters<Metrics['policyHistory']>[0] = { rollback: () => null, comparing: () => null };
  new Gauge({
    name: 'assay_policy_comparing',
    help: '1 while a policy is compared with the one in force before it takes its place, else 0',
    registers,
    collect() {
      this.set(history.comparing() === null ? 0 : 1);
    },
  });
  new Gauge({
    name: 'assay_policy_rollback_timestamp_seconds',
    help: 'Since when an earlier policy is in force in place of the one that is given; 0: it is not',
    registers,
    collect() {
      this.set((history.rollback()?.at ?? 0) / 1000);
    },
  });
  const unreadableRows = counter('store_unreadable_rows_total', 'Rows of the store that cannot be read', [
    'table',
  ]);
  const refusals = counter('refusals_total', 'Messages and connections that were refused', ['code']);

  const kubeRequests = counter('kube_api_requests_total', 'Requests to the API of the cluster', [
    'verb',
    'resource',
    'code',
  ]);
  const watchRestarts = counter(
    'kube_watch_restarts_total',
    'Times that the watch of the Nodes began again, by why it ended',
    ['reason'],
  );
  const clusterFault = gauge(
    'cluster_fault',
    '1 while the Nodes of the cluster cannot be read, or a right is missing, else 0',
    ['cause'],
  );

  let flapping: () => readonly string[] = () => [];
  new Gauge({
    name: 'assay_nodes_flapping',
    help: 'Nodes whose verdicts change, or did within the hour, so often that their rows are joined',
    registers,
    collect() {
      this.set(flapping().length);
    },
  });
  const missing = gauge(
    'nodes_missing',
    'Nodes in the state unknown of which the cluster has no Node; after a while they are gone',
    [],
  );
  const withoutAgent = gauge(
    'nodes_without_agent',
    'Nodes of the cluster that have never proven themselves, and neither say nor are expected to have no TPM',
    [],
  );
  const withoutTpm = gauge(
    'nodes_claimed_without_tpm',
    'Machines that say they have no TPM, where policy expects one',
    [],
  );
  let claimedWithoutTpm: Parameters<Metrics['claimedWithoutTpm']>[0] = () => [];
  let presence: Parameters<Metrics['presence']>[0] = () => ({
    gone: 0,
    doubt: null,
    unenrolled: () => [],
  });
  new Gauge({
    name: 'assay_nodes_gone',
    help: 'Nodes that are gone from the cluster and silent; they are not counted by state',
    registers,
    collect() {
      this.set(presence().gone);
    },
  });
  new Gauge({
    name: 'assay_presence_doubt',
    help: '1 while no node is taken for gone, since the list of Nodes in the cluster cannot be true, else 0',
    labelNames: ['cause'],
    registers,
    collect() {
      const { doubt } = presence();
      for (const cause of presenceDoubts) this.set({ cause }, cause === doubt ? 1 : 0);
    },
  });

  const turnedAway = counter(
    'door_refusals_total',
    'Connections refused by a limit, for one source or for all',
    ['port', 'bound'],
  );
  let unproven: Parameters<Metrics['unproven']>[0] = () => ({ bytes: 0, connections: 0 });
  new Gauge({
    name: 'assay_unproven_connections',
    help: 'Connections that have proven nothing',
    labelNames: ['port'],
    registers,
    collect() {
      for (const port of ports) this.set({ port }, unproven(port).connections);
    },
  });
  new Gauge({
    name: 'assay_unproven_bytes',
    help: 'Bytes of connections of agents that have proven nothing',
    registers,
    collect() {
      this.set(unproven('agents').bytes);
    },
  });

  let openAnswers = () => 0;
  new Gauge({
    name: 'assay_open_answer_bytes',
    help: 'Bytes of proven agents, of answers that are open or being judged',
    registers,
    collect() {
      this.set(openAnswers());
    },
  });

  let initrds: Parameters<Metrics['initrds']>[0] = () => ({ waiting: 0, received: 0, kept: 0 });
  new Gauge({
    name: 'assay_initrds_waiting',
    help: 'Initrds that nodes booted and that the server does not have yet',
    registers,
    collect() {
      this.set(initrds().waiting);
    },
  });
  new Gauge({
    name: 'assay_initrd_manifest_bytes',
    help: 'Bytes of what is kept of initrds',
    registers,
    collect() {
      this.set(initrds().kept);
    },
  });
  new Counter({
    name: 'assay_initrd_received_bytes_total',
    help: 'Bytes of initrds that nodes sent',
    registers,
    collect() {
      this.reset();
      this.inc(initrds().received);
    },
  });

  let judging: Parameters<Metrics['judging']>[0] = () => ({ spent: 0, waiting: 0 });
  new Gauge({
    name: 'assay_nodes_over_judging_share',
    help: 'Nodes that have spent what judging them may cost, and are asked later',
    registers,
    collect() {
      this.set(judging().spent);
    },
  });
  new Gauge({
    name: 'assay_heavy_answers_waiting',
    help: 'Answers that take long to judge and wait for a turn',
    registers,
    collect() {
      this.set(judging().waiting);
    },
  });

  // A series that comes with its first event has no increase then: each is there from the start.
  for (const code of reasonCodes) {
    refusals.inc({ code }, 0);
    attestations.inc({ result: 'accepted', reason: code }, 0);
    // Drift and posture are found in a proof that holds.
    if (classOf(code) === 'failed' || classOf(code) === 'service')
      attestations.inc({ result: 'rejected', reason: code }, 0);
  }
  attestations.inc({ result: 'accepted', reason: 'none' }, 0);
  attestations.inc({ result: 'fault', reason: 'none' }, 0);
  for (const from of nodeStates)
    for (const to of nodeStates) if (from !== to) transitions.inc({ from, to }, 0);
  for (const port of ports) for (const bound of bounds) turnedAway.inc({ port, bound }, 0);
  for (const table of tables) unreadableRows.inc({ table }, 0);
  for (const why of gateOpenings) gatesOpened.inc({ why }, 0);
  for (const result of ['done', 'failed']) kept.inc({ result }, 0);
  for (const check of aspects) checkFailures.inc({ check }, 0);
  for (const part of reloadedParts) reloadFailures.inc({ part }, 0);
  for (const state of nodeStates) nodes.set({ state }, 0);
  for (const change of ourChanges) turned.set({ change }, 0);
  for (const reason of watchRestartReasons) watchRestarts.inc({ reason }, 0);
  for (const cause of clusterFaults) clusterFault.set({ cause }, 0);
  for (const cause of faultCauses) serverFaults.inc({ cause }, 0);
  for (const cause of storageCauses) storageFault.set({ cause }, 0);

  return {
    marking: markingMetrics(registry),
    webhook: webhookMetrics(registry),
    attested: (result, reason) => attestations.inc({ result, reason: codeLabel(reason) }),
    refused: (code) => refusals.inc({ code: codeLabel(code) }),
    signatureChecked: () => signatures.inc(),
    turnedAway: (port, bound) => turnedAway.inc({ port, bound }),
    openAnswers(of) {
      openAnswers = of;
    },
    initrds(of) {
      initrds = of;
    },
    unproven(of) {
      unproven = of;
    },
    flapping(of) {
      flapping = of;
    },
    judging(of) {
      judging = of;
    },
    duration: (phase, seconds) => durations.observe({ phase }, seconds),
    transition: (from, to) => transitions.inc({ from, to }),
    checkFailed: (check) => checkFailures.inc({ check }),
    nodeStates(views) {
      failing.reset();
      for (const state of nodeStates)
        nodes.set({ state }, views.filter((view) => view.state === state).length);
      const untrusted = views.filter(({ state }) => state === 'untrusted');
      for (const change of ourChanges)
        turned.set({ change }, untrusted.filter(({ ourChange }) => ourChange === change).length);
      missing.set(views.filter(isMissed).length);
      const failed = views.map(failingAspects);
      for (const check of aspects)
        failing.set({ check }, failed.filter((checks) => checks.includes(check)).length);
      const claimed = claimedWithoutTpm();
      withoutTpm.set(claimed.length);
      const listed = new Set([...views.map(({ name }) => name), ...claimed]);
      const unproven = presence()
        .unenrolled()
        .filter((name) => !listed.has(name));
      withoutAgent.set(unproven.length);
      if (perNode) ofNodes = nodeSeries(views, unproven, flapping());
    },
    presence(of) {
      presence = of;
    },
    claimedWithoutTpm(of) {
      claimedWithoutTpm = of;
    },
    trial: (isOn) => trial.set(isOn ? 1 : 0),
    ready: (is) => isReady.set(is ? 1 : 0),
    agents(versions, waiting) {
      gates.set(waiting);
      agents.reset();
      for (const [version, count] of versions) agents.inc({ version: versionLabel(version) }, count);
    },
    gateOpened: (why) => gatesOpened.inc({ why }),
    request: (method, route, status, seconds) =>
      requests.observe({ method: methodLabel(method), route, code: String(status) }, seconds),
    certificatesExpire({ notAfter, authorityNotAfter }) {
      expiries.set({ certificate: 'server' }, notAfter / 1000);
      expiries.set({ certificate: 'authority' }, authorityNotAfter / 1000);
    },
    renewalFailed: () => renewalFailures.inc(),
    declaredSerial: (serial) => declaredSerial.set(serial),
    policyChanged(policy, at) {
      policies.reset();
      policies.set({ policy }, at);
    },
    auditWriteFailed: () => auditFailures.inc(),
    serverFailed: (cause) => serverFaults.inc({ cause }),
    storage(now) {
      for (const cause of storageCauses) storageFault.set({ cause }, cause === now ? 1 : 0);
    },
    reloadFailed: (part) => reloadFailures.inc({ part }),
    rowUnreadable: (table) => unreadableRows.inc({ table }),
    checkpointed: (size) => checkpointSize.set(size),
    checkpointKept: (isKept) => kept.inc({ result: isKept ? 'done' : 'failed' }),
    auditRollback(of) {
      auditRollback = of;
    },
    faultyParts(of) {
      faultyParts = of;
    },
    policyHistory(of) {
      history = of;
    },
    clusterAsked: (verb, resource, code) =>
      kubeRequests.inc({ verb, resource, code: code === null ? 'none' : String(code) }),
    clusterWatchRestarted: (reason) => watchRestarts.inc({ reason }),
    clusterFaults(faults) {
      for (const cause of clusterFaults) clusterFault.set({ cause }, faults.has(cause) ? 1 : 0);
    },
    text: async () => `${await registry.metrics()}${ofNodes}`,
    contentType: registry.contentType,
  };

  function versionLabel(version: string): string {
    if (!/^\d{1,4}\.\d{1,4}\.\d{1,4}$/.test(version)) return 'other';
    if (!known.has(version) && known.size >= maxVersions) return 'other';
    known.add(version);
    return version;
  }
}

function refusedNodes(refused: UnloadedPart['refused']): number {
  if (refused === null) return 0;
  return refused.untrusted === 0 ? -1 : refused.untrusted;
}

const ports: readonly DoorPort[] = ['agents', 'api', 'metrics'];
/** Of the store, as its rows are called where one cannot be read. */
const tables = ['audit', 'cluster_decisions', 'evidence', 'history', 'node', 'reference', 'status'] as const;
const bounds: readonly HitBound[] = [
  ...(['rate', 'rate_in_all', 'places', 'places_in_all'] as const),
  ...(['bytes', 'bytes_in_all', 'deadline', 'proven_bytes'] as const),
];

/** Each part of the heap by itself says nothing to who watches. */
const ofHeapSpaces = ['total', 'used', 'available'].map((what) => `nodejs_heap_space_size_${what}_bytes`);
/** An agent names its own version: no more series than a fleet has in an update. */
const maxVersions = 16;

/** Required aspects whose status is worse than affirming. */
function failingAspects({ aspects, require }: NodeStanding): readonly Aspect[] {
  return require.filter((aspect) => aspects[aspect]?.status !== 'affirming');
}

function codeLabel(code: ReasonCode | null): string {
  if (code === null) return 'none';
  return isReasonCode(code) ? code : 'other';
}

function methodLabel(method: string): string {
  return ['GET', 'HEAD', 'POST', 'PUT', 'PATCH', 'DELETE', 'OPTIONS'].includes(method) ? method : 'other';
}
