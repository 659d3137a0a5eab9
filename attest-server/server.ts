/**
 * The server's composition root: `main`, `config`, and this file, which opens the rooms in order on an
 * `AsyncDisposableStack` and fills their ports. There is no logic here.
 *
 * Beside it: how settings are read (`read-settings`); why a server cannot start, and what to do (`start-fault`);
 * and how soon its heap is collected (`heap`).
 */

import { join } from 'node:path';
import type { Logger } from 'pino';
import { openAttest } from './attest/open.ts';
import type { HistoryEntry } from './attest/ports.ts';
import { attestFigures, attestReport } from './attest/telemetry.ts';
import { chainEntry } from './audit/chain.ts';
import { openAudit } from './audit/open.ts';
import { auditFigures, auditReport } from './audit/telemetry.ts';
import { openBackups } from './backups/open.ts';
import { backupsReport } from './backups/telemetry.ts';
import { openChannel } from './channel/open.ts';
import { channelFigures, channelReport } from './channel/telemetry.ts';
import type { ServerConfig } from './config.ts';
import { openCustody } from './custody/open.ts';
import { openDeclared } from './declared/open.ts';
import { declaredReport } from './declared/telemetry.ts';
import { openAdmissions } from './door/open.ts';
import { admissionFigures, admissionReport } from './door/telemetry.ts';
import type { Cluster } from './enrolment/cluster.ts';
import { offeredMethods } from './enrolment/methods.ts';
import { openEnrolment } from './enrolment/open.ts';
import { enrolmentReport } from './enrolment/telemetry.ts';
import { openEvents } from './events/open.ts';
import { openEvidence } from './evidence/open.ts';
import { openHealth } from './health/open.ts';
import { healthReport } from './health/telemetry.ts';
import { openHttp } from './http/open.ts';
import { httpFigures, httpReport } from './http/telemetry.ts';
import { openInForce } from './in-force/open.ts';
import { inForceFigures, inForceReport } from './in-force/telemetry.ts';
import { openKeys } from './keys/open.ts';
import { keysReport } from './keys/telemetry.ts';
import { openKubernetes } from './kubernetes/open.ts';
import { kubernetesReport } from './kubernetes/telemetry.ts';
import { openMarking } from './marking/open.ts';
import { markingFigures, markingReport } from './marking/telemetry.ts';
import { nextStep } from './policy/advice.ts';
import { openPresence } from './presence/open.ts';
import { presenceFigures, presenceReport } from './presence/telemetry.ts';
import { openReferences } from './references/open.ts';
import { openRoots } from './roots/open.ts';
import { openState } from './state/open.ts';
import { stateFigures, stateReport } from './state/telemetry.ts';
import { openStore } from './store/open.ts';
import { storeFigures, storeReport } from './store/telemetry.ts';
import { openTelemetry } from './telemetry/open.ts';
import { openTls } from './tls/open.ts';
import { tlsReport } from './tls/telemetry.ts';
import { version } from './version.ts';
import { openWebhook } from './webhook/open.ts';
import { webhookFigures, webhookReport } from './webhook/telemetry.ts';

export interface RunningServer extends AsyncDisposable {
  readonly agentPort: number;
  readonly apiPort: number;
  readonly metricsPort: number;
  /** PEM file of the authority that signs the server's certificate. */
  readonly caFile: string;
  /** Asks this node, or all that are connected, for evidence now. */
  challengeNow(node?: string): boolean;
  /** Reads signed directory, policy, authorities of TPMs, certificate and tokens again; what is faulty stays as it was. @throws that */
  reload(): Promise<void>;
  close(): Promise<void>;
}

export interface ServerOptions {
  readonly logger: Logger;
  /** Called for every verdict once it is committed. */
  readonly recorded?: (entry: HistoryEntry) => void;
  /** Whom to ask about nodes instead of the cluster of the configuration. */
  readonly cluster?: Cluster;
  /** Variables that the cloud program gets beside the few that every program gets. */
  readonly cloudEnvironment?: Readonly<Record<string, string>>;
}

/**
 * Opens the rooms in order, each with what it needs of those before it, and closes them in reverse order: at the end,
 * or where a later one does not open.
 * @throws PolicyError, StateInUse, Error for a state folder, port or store that cannot be used
 */
export async function startServer(config: ServerConfig, options: ServerOptions): Promise<RunningServer> {
  const { logger, recorded = () => {}, cloudEnvironment = {} } = options;
  const { stateDir, keysDir, policy, cloudProgram, names, challengeEvery, trial } = config;
  const now = () => Date.now();
  const monotonic = () => performance.now();
  const startedAt = now();
  await using rooms = new AsyncDisposableStack();

  const state = rooms.use(await openState(stateDir));
  const telemetry = rooms.use(
    openTelemetry({ logger, version, trial, perNode: config.metricsPerNode, challengeEvery, now }),
  );
  const { reporting, auditTo } = telemetry;
  const { figures, fault } = reporting;
  if (trial) logger.warn({ code: 'trial' }, onTrial);
  const { stateWasOpened } = stateReport(reporting);
  if (state.wasOpened !== null) stateWasOpened(state.wasOpened);
  stateFigures(figures, state);
  const keys = rooms.use(openCustody(keysDir, stateDir, config.wrapping));
  if (keys.wasOpened !== null) stateWasOpened(keys.wasOpened);
  // Also outside a cluster: there its figures are 0, as are those of marks.
  const metrics = kubernetesReport(figures);
  const kubernetes =
    config.kubernetes &&
    rooms.use(await openKubernetes(config.kubernetes, { logger, metrics, now, monotonic }));
  const cluster = options.cluster ?? kubernetes?.cluster ?? null;
  const labelsOf = (node: string) => cluster?.labelsOf(node) ?? {};
  const methods = offeredMethods({
    isInCluster: cluster !== null,
    cloudProgram,
    hasRoots: config.endorsementRoots.length > 0,
  });
  const faults = healthReport(reporting);
  const health = rooms.use(openHealth({ state, now, report: faults }));
  const { unreadable: onUnreadable } = storeReport(reporting);
  const storeOptions = { chain: chainEntry, onUnreadable, watch: health };
  const store = rooms.use(await health.opening(() => openStore(join(stateDir, 'assay.db'), storeOptions)));
  storeFigures(figures, store);
  // Not before the store is ours: a server that is refused leaves no mark.
  const upgradedFor = state.upgradedFor(version, startedAt);
  health.probeBy(store.probe, store.free);
  const nodeShare = state.nodeShare(config.nodeDisk);
  const audit = rooms.use(
    await openAudit({
      store,
      stateDir,
      keys: keys.audit,
      now,
      monotonic,
      keeper: kubernetes?.checkpoints ?? null,
      logger,
      report: auditReport(reporting),
    }),
  );
  auditTo(audit);
  auditFigures(figures, audit);
  const needsRoom = (bytes: number) => health.fault() !== null || state.reserve.isTouched(-bytes);
  const backups = rooms.use(
    openBackups(config.backup, {
      stateDir,
      keysDir,
      size: () => store.size().bytes,
      needsRoom,
      backUp: audit.backUp,
      now,
      report: backupsReport(reporting, config.backup),
    }),
  );
  const certificates = tlsReport(reporting);
  const tls = rooms.use(
    await openTls({
      stateDir,
      keys: keys.tls,
      followEvery: keys.isShared ? config.sharedKeysLookedAtEvery : null,
      names,
      enrolment: store.enrolment,
      audit: store.audit,
      keeper: kubernetes?.authorities ?? null,
      now,
      monotonic,
      lookEvery: config.certificateLookedAtEvery,
      logger,
      expire: certificates.expire,
      report: certificates,
    }),
  );
  const roots = rooms.use(openRoots(config.endorsementRoots));
  const evidence = rooms.use(
    openEvidence({ ...config, nodeShare }, { store: store.evidence, now, monotonic, fault }),
  );
  const { bundle, context, contextOf } = evidence;
  const presence = rooms.use(
    await openPresence(config.presence, {
      store: store.presence,
      nodes: kubernetes?.nodes ?? null,
      ownNode: config.marking.ownNode,
      now,
      monotonic,
      report: presenceReport(reporting),
    }),
  );
  presenceFigures(figures, presence.figures);
  const declared = rooms.use(
    await openDeclared(config.declared, {
      store: store.declared,
      methods,
      now,
      ...declaredReport(figures),
      fault,
    }),
  );
  const inForce = rooms.use(
    await openInForce({
      policy,
      trial,
      declared: declared.policy,
      methods,
      store,
      presence,
      latched: store.marking.latchedPolicy,
      bundle,
      context,
      contextOf,
      labelsOf,
      refusedShare: config.refusedPolicyShare,
      startWithin: config.policyComparedWithin,
      now,
      monotonic,
      logger,
      report: { ...inForceReport(reporting), fault },
    }),
  );
  inForceFigures(figures, inForce);
  const diskKeys = rooms.use(
    await openKeys({
      store: store.leases,
      wrapping: keys.wrapping,
      ownNode: config.marking.ownNode,
      exemptions: store.marking.exemptions,
      groupOf: inForce.groups.of,
      referencesChanged: inForce.readReferences,
      now,
      report: keysReport(reporting),
    }),
  );
  const outcomes = attestReport(reporting, { recorded, failed: faults.failed });
  const attest = rooms.use(
    await openAttest(config, {
      verdicts: store.verdicts,
      enrolment: store.enrolment,
      now,
      monotonic,
      initrds: store.initrds,
      evidence,
      inForce: inForce.current,
      earlier: inForce.earlier,
      version,
      labelsOf,
      systemUuidOf: (node) => cluster?.systemUuidOf(node) ?? null,
      alive: state,
      ...outcomes,
      storageFault: health.fault,
      decideKey: diskKeys.decide,
      hasLease: diskKeys.hasLease,
      presence,
      fault,
    }),
  );
  if (!trial) await attest.endTrialOf(await store.enrolment.ofTrial());
  attestFigures(figures, attest);
  attest.onRecorded(({ node }) => presence.proven(node));
  const references = rooms.use(
    openReferences(config, {
      store: store.references,
      now,
      logger,
      prove: inForce.prove,
      status: attest.status,
      statuses: attest.statuses,
      presence,
      groupOf: inForce.groups.of,
      policy: inForce.policy,
      changed: inForce.readReferences,
      directory: declared.directory,
      readPart: evidence.readPart,
      hasLease: diskKeys.hasLease,
      hasOpened: diskKeys.hasOpened,
      inForce: inForce.current,
      fault,
    }),
  );
  const enrolment = rooms.use(
    await openEnrolment(config, {
      store: store.enrolment,
      now,
      monotonic,
      logger,
      cluster,
      cloudEnvironment,
      authority: tls,
      trust: roots.trust,
      groups: inForce.groups,
      checkPins: declared.checkPins,
      release: attest.release,
      approveAgain: attest.approveAgain,
      eraseEvidence: (node, actor) => evidence.share.erase(node, actor),
      checkWitness: audit.checkWitness,
      status: attest.status,
      report: { ...enrolmentReport(reporting), refused: outcomes.refused, fault },
    }),
  );
  await declared.begin({
    nodeByEk: store.enrolment.nodeByEk,
    declared: references.life.declared,
    judge: inForce.judge,
    declare: references.life.declare,
    adopt: inForce.adopt,
    told: inForce.told,
  });
  const marks = markingReport(reporting);
  const marking =
    kubernetes &&
    rooms.use(
      await openMarking(config.marking, {
        nodes: kubernetes.nodes,
        writer: kubernetes.writer,
        admission: kubernetes.admission,
        trial,
        committed: attest,
        store: store.marking,
        inForce,
        faults: [kubernetes.faults, tls.faults],
        upgradedFor,
        now,
        monotonic,
        report: marks,
      }),
    );
  markingFigures(figures, marking?.figures ?? null);
  const events = rooms.use(
    openEvents({
      store: store.events,
      log: audit.entries,
      clusterUid: kubernetes?.writer.uid ?? null,
      monotonic,
      fault,
    }),
  );
  const webhook = rooms.use(
    await openWebhook(config.webhook, {
      log: audit.reader('webhook'),
      messages: events.messages,
      now,
      monotonic,
      audit: audit.write,
      report: webhookReport(reporting),
    }),
  );
  webhookFigures(figures, webhook);
  const { turnedAway } = admissionReport(reporting);
  const admissions = rooms.use(openAdmissions(config, { now: monotonic, turnedAway }));
  admissionFigures(figures, admissions);
  const agents = rooms.use(
    await openChannel(config, tls.identity, admissions.agents, {
      identify: enrolment.identify,
      enrol: enrolment.enrol,
      proven: enrolment.proven,
      name: enrolment.name,
      ask: attest.ask,
      waits: attest.waits,
      judge: attest.judge,
      leaseReported: ({ record }, report) => diskKeys.reported(record, report),
      keepHeader: ({ record }, leaseId, header) => diskKeys.keepHeader(record, leaseId, header),
      checkpoint: audit.shown,
      announce: tls.announce,
      trusts: tls.trusts,
      gateOf: inForce.groups.gateOf,
      gateOpened: outcomes.gateSaid,
      refused: enrolment.refused,
      gaveWay: (source) => turnedAway('agents', 'proven_bytes', source),
      failed: outcomes.failed,
      nodeFailed: attest.failed,
      ...channelReport(figures),
      now: monotonic,
      wallClock: now,
    }),
  );
  channelFigures(figures, agents);
  attest.explainSilence(agents.silence);
  rooms.use(presence.begin(attest, agents));
  const http = rooms.use(
    await openHttp(config, tls.identity, admissions, {
      store,
      statuses: attest,
      clusterUsers: kubernetes?.operators ?? null,
      enrolment,
      connected: agents.connected,
      ended: agents.ended,
      kubeletReady: (node) => kubernetes?.kubeletReady(node) ?? null,
      waits: attest.waits,
      affirmedBy: inForce.affirmedBy,
      turned: attest.turned,
      labelsOf: cluster && labelsOf,
      presence,
      cluster: marking?.control ?? null,
      clusterRights: kubernetes?.readRights ?? null,
      references,
      volumes: diskKeys.volumes,
      groupOf: inForce.groups.of,
      bundle,
      evidenceNamed: evidence.named,
      audit: audit.ports,
      feed: events.feed,
      webhook: webhook.told,
      authority: tls.ports,
      advice: {
        nextStep,
        serverFault: attest.serverFault,
        isDeclared: inForce.isDeclared,
        directory: declared.directory,
      },
      faultAdvice: health.advice,
      storageFault: health.fault,
      policy: inForce.policy,
      policies: inForce.trials,
      policyHistory: inForce.history,
      readiness: [health.ready, tls.ready, audit.ready],
      challengeNow: agents.challengeNow,
      server: {
        version,
        startedAt,
        trial,
        declared: declared.shown,
        policySource: inForce.source,
        policySince: inForce.since,
        faulty: inForce.faulty,
        space: state.space,
        store: store.size,
        backups: backups.shown,
        certificates: tls.expiries,
        connections: () => admissions.connections(agents.proven),
      },
      metrics: telemetry.scraped({
        flapping: attest.flapping,
        unenrolled: () => presence.figures().unenrolled(),
        claimedWithoutTpm: enrolment.claimedWithoutTpm,
      }),
      now,
      ...httpReport(reporting),
      fault,
    }),
  );
  httpFigures(figures, http);
  tls.onChange(agents.renew);
  tls.onChange(http.renew);
  inForce.onChange(agents.challengeNow);
  attest.onAskAgain(agents.challengeNow);
  enrolment.onRevoked(agents.disconnect);
  if (marking !== null) {
    inForce.onChange(marking.rulesChanged);
    diskKeys.onNewAddress(marking.keyToNewAddress);
    enrolment.onRevoked(marking.revoked);
  }

  const opened = rooms.move();
  let closing: Promise<void> | null = null;
  const close = () => {
    closing ??= opened.disposeAsync();
    return closing;
  };
  return {
    agentPort: agents.port,
    apiPort: http.apiPort,
    metricsPort: http.metricsPort,
    caFile: tls.identity.caFile,
    challengeNow: agents.challengeNow,
    reload: inForce.reloader({
      declared: declared.read,
      roots: roots.read,
      certificate: tls.renew,
      tokens: http.readTokens,
      webhook: webhook.read,
    }),
    close,
    [Symbol.asyncDispose]: close,
  };
}

const onTrial =
  'this server is on trial: the TPMs of its nodes may be programs, no verdict counts, and nothing is marked';
