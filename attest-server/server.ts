import { join } from 'node:path';
import pLimit from 'p-limit';
import type { Logger } from 'pino';
import { Attestation } from './attest/attestation.ts';
import type { HistoryEntry } from './attest/ports.ts';
import { selectionFor } from './attest/selection.ts';
import { startSweeper } from './attest/sweeper.ts';
import { chainEntry } from './audit/chain.ts';
import { createRefusalBook } from './audit/refusals.ts';
import { openBooks } from './audit/running-log.ts';
import { type Listener, listen } from './channel/listener.ts';
import type { ServerConfig } from './config.ts';
import { createApprovals } from './enrolment/approvals.ts';
import { CandidateBook } from './enrolment/candidates.ts';
import type { Cluster } from './enrolment/cluster.ts';
import { createIdentify, type Peer } from './enrolment/identify.ts';
import { enrolmentWays } from './enrolment/methods.ts';
import { createRegistry } from './enrolment/registry.ts';
import { namedDigests } from './evidence/kept-form.ts';
import { startRetention } from './evidence/retention.ts';
import { createApi } from './http/api.ts';
import { listenPlainly, listenSecurely } from './http/listen.ts';
import { createNamedTokens } from './http/named-tokens.ts';
import { createProbes } from './http/probes.ts';
import { bundles, shownStore } from './http/shown-store.ts';
import { readTokens } from './http/tokens.ts';
import { createNodeGroups } from './in-force/node-groups.ts';
import { readPolicy } from './in-force/policy-source.ts';
import { reloadParts } from './in-force/reload.ts';
import { createPolicyPorts } from './in-force/trials.ts';
import type { Bound } from './protocol/enrolment-method.ts';
import { timings } from './protocol/limits.ts';
import { createReferenceLife } from './references/life.ts';
import { readTrustRoots } from './roots/read-roots.ts';
import { beat, readLastAlive } from './state/alive.ts';
import { preparePrivateFolder } from './state/private-file.ts';
import { openStore } from './store/open.ts';
import { createMetrics } from './telemetry/metrics.ts';
import { createTeller } from './telemetry/report.ts';
import { createAuthority } from './tls/authority.ts';
import { ensureIdentity, type ServerIdentity } from './tls/identity.ts';
import { version } from './version.ts';

export interface RunningServer {
  readonly agentPort: number;
  readonly apiPort: number;
  readonly metricsPort: number;
  /** PEM file of the authority that signs the server's certificate. */
  readonly caFile: string;
  /** Asks this node, or all that are connected, for evidence now. */
  challengeNow(node?: string): void;
  /** Reads policy, authorities of TPMs, certificate and tokens again; what is faulty stays as it was. @throws that */
  reload(): Promise<void>;
  close(): Promise<void>;
}

export interface ServerOptions {
  readonly logger: Logger;
  /** Told of every verdict once it is committed. */
  readonly recorded?: (entry: HistoryEntry) => void;
  /** Whom to ask about nodes; without it no policy may name the ways `cloud` and `vendor`. */
  readonly cluster?: Cluster;
}

/**
 * Puts the rooms together and listens. Every port of every room is filled here.
 * @throws PolicyError, Error for a state folder, port or store that cannot be used
 */
export async function startServer(config: ServerConfig, options: ServerOptions): Promise<RunningServer> {
  const { logger } = options;
  const now = () => Date.now();
  preparePrivateFolder(config.stateDir);
  const { ways, ...clusterWords } = enrolmentWays(options.cluster ?? null, config.cloudProgram, {
    now: () => performance.now(),
    fault: (error) => logger.error({ err: error }, 'the cloud program gave no answer: nobody is bound by it'),
  });
  const policy = await readPolicy(config.policy, ways, logger);
  const readIdentity = () => ensureIdentity(config.stateDir, config.names, now());
  const identity = await readIdentity();
  let tokens = readTokens(config.stateDir);
  const metrics = createMetrics({ version });
  const store = await openStore(join(config.stateDir, 'assay.db'), {
    chain: chainEntry,
    onUnreadable: (row) => tell.unreadable(row),
  });
  const refusalBook = createRefusalBook();
  const tell = createTeller({
    logger,
    metrics,
    audit: store.audit,
    refusalBook,
    now,
    recorded: options.recorded,
  });
  const { fault } = tell;
  const { stateDir } = config;
  const running = await openBooks({ store, stateDir, now, metrics, logger, refusalBook, fault });
  const { books, meetWitness } = running;

  const groups = createNodeGroups(() => attestation.policy, options.cluster, now);
  const attestation = await Attestation.open(
    {
      verdicts: store.verdicts,
      evidence: store.evidence,
      references: store.references,
      enrolment: store.enrolment,
      now,
      unknownAfter: config.unknownAfter,
      summaryEvery: config.summaryEvery,
      challengeEvery: config.challengeEvery,
      labelsOf: groups.labelsOf,
      duration: metrics.duration,
      recorded: tell.recorded,
      fault,
    },
    policy,
    await readLastAlive(config.stateDir),
  );
  tell.policyInForce(policy);
  metrics.certificatesExpire(identity);
  const authority = createAuthority({
    stateDir,
    identity,
    read: readIdentity,
    serve,
    enrolment: store.enrolment,
    audit: store.audit,
    now,
    logger,
  });

  let trust = readTrustRoots(config.endorsementRoots);
  const candidates = await CandidateBook.open(store.enrolment);
  const { withoutTpm, of: groupOfNode } = groups;
  const enrolmentParts = {
    store: store.enrolment,
    candidates,
    now,
    ...clusterWords,
    get authorityDigest() {
      return authority.digest;
    },
    mayEnrol: (node: string, by: Bound) => groupOfNode(node).enrolment.some((way) => way === by),
    alert: tell.alert,
  };
  const registry = createRegistry(enrolmentParts);

  const agents: Listener = await listen<Peer>(
    {
      host: config.host,
      port: config.agentPort,
      chain: identity.chain,
      key: identity.key,
      timings: {
        challengeEvery: config.challengeEvery,
        answerWithin: config.answerWithin,
        helloWithin: config.helloWithin,
        activateWithin: timings.activateWithin,
      },
    },
    {
      identify: createIdentify({ ...enrolmentParts, withoutTpm, registry, meetWitness, trust: () => trust }),
      async enrol({ record, joinTokenId }) {
        // In the node's order: what is remembered of another machine of that name goes with it.
        await attestation.release(record.name, () => registry.enrol(record, joinTokenId));
        candidates.forget({ node: record.name, ekDigest: record.ekDigest });
        logger.info({ node: record.name, bound: record.bound, ek: record.ekDigest }, 'the node is enrolled');
      },
      ask: ({ record }, hello) => {
        const log = attestation.status(record.name)?.parts.boot ?? null;
        return { selection: selectionFor(hello), holds: log === null ? [] : [log] };
      },
      async judge({ record, ak, endorsementPath }, { session, answer }) {
        const started = performance.now();
        const judged = await attestation.judge(
          { ...record, ak, endorsementPath },
          {
            evidence: answer.evidence,
            nonce: answer.nonce,
            channel: session.channel,
            helloDigest: session.helloDigest,
            selection: answer.challenge.selection,
            challengedAt: now() - (performance.now() - answer.challengedAt),
            bootLog: answer.bootLog,
          },
        );
        metrics.duration('total', (performance.now() - started) / 1000);
        return judged;
      },
      name: ({ record }) => record.name,
      books: ({ record }, hello) => ({ ...books.shown, ...authority.announce(record.name, hello) }),
      trusts: ({ record }, digests) => authority.trusts(record.name, digests),
      refused(code, text, about) {
        if (!groups.isExpected(code, about.node)) tell.refused(code, text, about);
      },
      failed: tell.failed,
      connections: metrics.agents,
      now: () => performance.now(),
    },
  );

  const ready = () => ({ ok: true, reason: books.rollback });
  const namedTokens = createNamedTokens(store.tokens, now);
  const enrolments = createApprovals({
    ...enrolmentParts,
    forgive: (node, actor) => attestation.forgive(node, actor),
    async release(node, work) {
      await attestation.release(node, work);
      agents.disconnect(node);
    },
  });
  const shown = shownStore(store, attestation);
  const api = await listenSecurely(
    createApi({
      store: shown,
      tokens: {
        authenticate: async (header) => tokens.authenticate(header) ?? namedTokens.authenticate(header),
      },
      namedTokens,
      enrolments,
      unsupported: () => withoutTpm.list(),
      async capture(node, name, staged, actor) {
        const reference = await attestation.capture({
          ...{ node, name, actor },
          staged: staged || config.separateApprovals,
        });
        logger.info({ node, reference: name, actor }, 'a reference was captured');
        agents.challengeNow();
        return reference;
      },
      referenceLife: createReferenceLife({
        store: store.references,
        now,
        separate: config.separateApprovals,
        async changed() {
          await attestation.reload();
          agents.challengeNow();
        },
      }),
      importPins: (pins, actor) => registry.importPins(pins, actor, now()),
      createJoinToken: (request) => registry.createJoinToken({ ...request, now: now() }),
      bundle: bundles(store.evidence, attestation),
      audit: running.ports,
      authority: authority.ports,
      policy: () => attestation.policy,
      policies: createPolicyPorts({
        enrolment: store.enrolment,
        evidence: store.evidence,
        references: store.references,
        attestation,
        ways,
        now,
        labelsOf: groups.labelsOf,
      }),
      ready,
      now,
      answered: metrics.request,
      refused: tell.denied,
      fault,
    }),
    { key: identity.key, cert: identity.chain },
    { host: config.host, port: config.apiPort },
  );
  const probes = await listenPlainly(
    createProbes({
      store: shown,
      unsupported: () => withoutTpm.list(),
      metrics,
      ready,
      now,
      fault,
    }),
    { host: config.host, port: config.metricsPort },
  );

  const inTurn = pLimit(1);
  const erasing = startRetention({
    store: store.evidence,
    now,
    fault,
    named: namedDigests,
    evidence: config.evidenceFor,
    transitionEvidence: config.transitionEvidenceFor,
  });
  let closed: Promise<void> | null = null;
  const sweeper = startSweeper(
    [() => attestation.sweep(), () => candidates.flush(now()), () => beat(stateDir, now())],
    Math.min(1000, config.unknownAfter / 10),
    fault,
  );

  return {
    agentPort: agents.port,
    apiPort: api.port,
    metricsPort: probes.port,
    caFile: identity.caFile,
    challengeNow: agents.challengeNow,
    reload() {
      const readRoots = () => {
        trust = readTrustRoots(config.endorsementRoots);
      };
      const readTokenFiles = () => {
        tokens = readTokens(stateDir);
      };
      const parts = [
        ['policy', readPolicyAgain],
        ['roots', readRoots],
        ['certificate', () => authority.renew()],
        ['tokens', readTokenFiles],
      ] as const;
      return inTurn(() => reloadParts(parts, logger, tell.notReloaded));
    },
    close() {
      closed ??= end();
      return closed;
    },
  };

  async function end(): Promise<void> {
    const swept = sweeper.close();
    await erasing.close();
    await agents.close();
    await Promise.all([api.close(), probes.close(), swept]);
    await attestation.idle();
    await candidates.flush(now(), true);
    await running.close();
    await store[Symbol.asyncDispose]();
  }

  async function readPolicyAgain(): Promise<void> {
    const next = await readPolicy(config.policy, ways, logger);
    await attestation.reload(next);
    tell.policyInForce(next);
    agents.challengeNow();
  }

  function serve(shown: ServerIdentity): void {
    agents.renew(shown);
    api.renew({ cert: shown.chain, key: shown.key });
    metrics.certificatesExpire(shown);
  }
}
