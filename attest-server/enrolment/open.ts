/**
 * Which TPM is which node: the keys of a hello (`identify`), by which method (`registry`), `candidates`,
 * `approvals`, and the word of a cloud (`cloud-program`, which gets a part of the environment,
 * `cloud-environment`); who was refused under a name (`claims`), and where a node was last (`last-seen`).
 */

import type { Logger } from 'pino';
import type { ChannelPorts } from '../channel/ports.ts';
import type { EnrolmentMethod } from '../formats/enrolment-method.ts';
import { storageCauseOf } from '../formats/server-fault.ts';
import type { EnrolmentPorts } from '../http/ports.ts';
import type { TrustRoots } from '../verify/endorsement-chain.ts';
import { EndorsementPaths } from '../verify/endorsement-paths.ts';
import type { ReasonCode } from '../wire/reasons.ts';
import { createApprovals } from './approvals.ts';
import { Candidates } from './candidates.ts';
import { Claims } from './claims.ts';
import { createCloudProgram } from './cloud-program.ts';
import type { Cluster } from './cluster.ts';
import type { Alert } from './double-binding.ts';
import { createIdentify, type Identify, isUndecided, type Peer } from './identify.ts';
import { LastSeen } from './last-seen.ts';
import type { EnrolmentStore, Pin } from './ports.ts';
import { createRegistry } from './registry.ts';
import type { EnrolmentReport } from './telemetry.ts';
import { MachinesWithoutTpm, type UnsupportedNode } from './without-tpm.ts';

export interface EnrolmentConfig {
  /** Absolute path of the program that tells whose TPM a machine of the cloud has; null: the cloud is not asked. */
  readonly cloudProgram: string | null;
  /** How many nodes of one source may be bound by first use. */
  readonly firstUsePerSource: number;
  /** Whether the server is on trial. */
  readonly trial: boolean;
}

export interface EnrolmentParts {
  readonly store: EnrolmentStore;
  /** Milliseconds since the epoch. */
  readonly now: () => number;
  /** Monotonic milliseconds. */
  readonly monotonic: () => number;
  readonly logger: Logger;
  /** Null: the server is in none. */
  readonly cluster: Cluster | null;
  /** Where the program of the cloud finds its credentials. */
  readonly cloudEnvironment: Readonly<Record<string, string>>;
  /** Of the server: its digest is part of each join token. */
  readonly authority: { readonly digest: string };
  /** Whom we trust to endorse TPMs at present. */
  readonly trust: () => TrustRoots;
  readonly groups: {
    of(node: string): { readonly enrolment: readonly EnrolmentMethod[] };
    /** The policy's word on a machine that has no TPM; null if it expects one. */
    absentBy(node: string): Omit<UnsupportedNode, 'name'> | null;
    /** Whether policy expects that refusal of this node. */
    isExpected(code: ReasonCode, node: string | null): boolean;
  };
  /** @throws Rejection if a signed directory pins one of these names or keys otherwise */
  readonly checkPins: (pins: readonly Pin[]) => Promise<void>;
  /** Does the work when no verdict of this node is under way, and forgets the node. */
  readonly release: (node: string, work: () => Promise<void>, akName?: string) => Promise<void>;
  /** Forgets what is held against the node's TPM; false if nothing is. */
  readonly approveAgain: (node: string, actor: string) => Promise<boolean>;
  /** Erases what is kept of a TPM that is no node any more; gives how many bytes that took. */
  readonly eraseEvidence: (node: { name: string; ekDigest: string }, actor: string) => Promise<number>;
  /** Compares the audit log with the checkpoint that an agent kept. */
  readonly checkWitness: (node: string, checkpoint: string) => Promise<void>;
  /** Status of the node that is enrolled under that name; null if none is. */
  readonly status: (node: string) => object | null;
  readonly report: EnrolmentReport & {
    /** @param about `isEnrolled`: a node has that name */
    refused(
      code: ReasonCode,
      text: string,
      about: { readonly isEnrolled: boolean } & Omit<
        Parameters<ChannelPorts<Peer>['refused']>[2],
        'ek' | 'closed'
      >,
    ): void;
    fault(error: unknown, where: string): void;
  };
}

/** Which TPM is which node. */
export interface Enrolment extends AsyncDisposable, EnrolmentPorts {
  readonly identify: Identify;
  /** @throws Rejection */
  enrol(peer: Peer): Promise<Peer>;
  /** Checks claims of a peer that only a proven one may make. */
  proven(peer: Peer): Promise<void>;
  name(peer: Peer): string;
  /** Reports what the channel refuses; a refusal that policy expects of a machine is not an event. */
  readonly refused: ChannelPorts<Peer>['refused'];
  /** Called for each node that is no longer enrolled. */
  onRevoked(listener: (node: string) => void): void;
}

/** How often what is known of candidates, and from where nodes last came, may go to the disk. */
const flushEvery = 1_000;
/** The same of machines that merely say that they have no TPM: anybody can say it, under any name. */
const flushSeldom = 30_000;

export async function openEnrolment(
  { cloudProgram, firstUsePerSource, trial }: EnrolmentConfig,
  parts: EnrolmentParts,
): Promise<Enrolment> {
  const { store, now, monotonic, logger, cluster, authority, trust, groups } = parts;
  const { fault } = parts.report;
  const isEnrolled = (node: string) => parts.status(node) !== null;
  const alert: Alert = (said) => parts.report.alert({ ...said, isEnrolled: isEnrolled(said.node) });
  const ekOfMachine =
    cloudProgram === null
      ? null
      : createCloudProgram({
          program: cloudProgram,
          environment: parts.cloudEnvironment,
          now: monotonic,
          fault: (error) =>
            logger.error({ err: error }, 'the cloud program gave no answer: nobody is bound by it'),
        });
  const mayEnrol = (node: string, by: EnrolmentMethod) => groups.of(node).enrolment.includes(by);
  const withoutTpm = await MachinesWithoutTpm.open({ store, absentBy: groups.absentBy, now });
  const candidates = await Candidates.open(store);
  const registry = createRegistry({
    store,
    mayEnrol,
    checkPins: parts.checkPins,
    alert,
    authority,
    firstUsePerSource,
    trial,
    clusterPorts: cluster === null ? null : { cluster, ekOfMachine },
  });
  const { checkWitness, approveAgain } = parts;
  const paths = new EndorsementPaths(parts.report.signatureChecked);
  const claims = new Claims();
  const lastSeen = await LastSeen.open(store);
  const listeners: ((node: string) => void)[] = [];
  const flushing = setInterval(() => {
    candidates.flush(now()).catch((error: unknown) => fault(error, 'candidates'));
    lastSeen.flush().catch((error: unknown) => fault(error, 'last seen'));
  }, flushEvery);
  const flushingSeldom = setInterval(() => {
    withoutTpm.flush().catch((error: unknown) => fault(error, 'machines without TPM'));
  }, flushSeldom);
  return {
    identify: createIdentify({
      store,
      lastSeen: (node) => lastSeen.of(node),
      registry,
      cluster,
      candidates,
      withoutTpm,
      paths,
      trust,
      now,
    }),
    async enrol(peer) {
      if (peer.enrolling === null) return peer;
      const { name } = peer.record;
      const { joinTokenId, claim } = peer.enrolling;
      let record = peer.record;
      try {
        const vouched = peer.enrolling.vouched();
        // In the node's order: what is remembered of another machine of that name goes with it.
        await parts.release(name, async () => {
          record = await registry.enrol(peer.record, joinTokenId, vouched);
        });
      } catch (error) {
        if (isUndecided(error)) candidates.note(claim, now());
        throw error;
      }
      candidates.forget({ node: name, ekDigest: record.ekDigest });
      claims.forget(name, record.ekDigest);
      lastSeen.forget(name);
      withoutTpm.forget(name);
      logger.info({ node: record.name, bound: record.bound, ek: record.ekDigest }, 'the node is enrolled');
      return { ...peer, record, enrolling: null };
    },
    async proven({ record, checkpoint, seen }) {
      if (seen !== null) lastSeen.note(record, seen);
      if (checkpoint !== null) await checkWitness(record.name, checkpoint);
    },
    name: ({ record }) => record.name,
    refused(code, text, about) {
      const { node, ek, closed, ...rest } = about;
      if (groups.isExpected(code, node)) return;
      const isKnown = node !== null && isEnrolled(node);
      if (node !== null && closed)
        claims.note({ node, ekDigest: ek, code, text, address: about.address }, isKnown, now());
      parts.report.refused(code, text, { ...rest, node, isEnrolled: isKnown });
    },
    approvals: createApprovals({
      store,
      candidates,
      mayEnrol,
      checkPins: parts.checkPins,
      alert,
      now,
      trial,
      approveAgain,
      eraseEvidence: parts.eraseEvidence,
      async release(node, work, akName) {
        await parts.release(node, work, akName);
        lastSeen.forget(node);
        for (const listener of listeners) listener(node);
      },
    }),
    importPins: (pins, actor) => registry.importPins(pins, actor, now()),
    createJoinToken: ({ node, ttlMs, actor }) => registry.createJoinToken({ node, ttlMs, actor, now: now() }),
    mayEnrol,
    claims: () => claims.byName(candidates.list()),
    lastSeen: (node) => lastSeen.of(node),
    joinTokens: () => store.joinTokens(),
    revokeJoinToken: (id, actor) => registry.revokeJoinToken(id, actor, now()),
    unsupported: () => withoutTpm.list(),
    claimedWithoutTpm: () => withoutTpm.claimed(),
    onRevoked: (listener) => void listeners.push(listener),
    async [Symbol.asyncDispose]() {
      clearInterval(flushing);
      clearInterval(flushingSeldom);
      // Where there is no room, it is not remembered: that is no reason to end badly.
      for (const flush of [
        () => candidates.flush(now(), true),
        () => lastSeen.flush(),
        () => withoutTpm.flush(),
      ])
        await flush().catch((error: unknown) => {
          if (storageCauseOf(error) === null) throw error;
          fault(error, 'enrolment');
        });
    },
  };
}
