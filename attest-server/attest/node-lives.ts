import type { EnrolledNode } from '../enrolment/ports.ts';
import { trialEndedVerdict, twinVerdict } from '../policy/appraise.ts';
import type { Verifier } from '../verify/verifier.ts';
import type { PcrBank } from '../wire/messages.ts';
import { Rejection } from '../wire/rejection.ts';
import type { Commits } from './commits.ts';
import { counts, lastTrusted, overdueStatus } from './next-status.ts';
import type { OwnedNode } from './owned-node.ts';
import type { OwnedNodes } from './owned-nodes.ts';
import type { AttestPorts, NodeStatus } from './ports.ts';
import { type SharedVolumes, storedMarks } from './shared-volumes.ts';
import type { Supplements } from './supplements/supplements.ts';
import type { SystemUuids } from './system-uuids.ts';
import type { Twins } from './twins.ts';
import type { VerdictRows } from './verdict-rows.ts';

/** Claims that are compared over many nodes. */
export interface SharedClaims {
  readonly systemUuids: SystemUuids;
  readonly volumes: SharedVolumes;
  readonly twins: Twins;
}

interface LivesParts {
  readonly claims: SharedClaims;
  readonly supplements: Supplements;
  readonly nodes: OwnedNodes;
  readonly rows: VerdictRows;
  readonly commits: Commits;
  readonly verifier: Verifier;
}

/** How nodes come into this server's memory, and leave it. */
export class NodeLives {
  readonly #ports: AttestPorts;
  readonly #parts: LivesParts;

  constructor(ports: AttestPorts, parts: LivesParts) {
    this.#ports = ports;
    this.#parts = parts;
  }

  /**
   * Time in which the server was down extends every deadline, and nothing else does: a server that starts again and
   * again keeps no silent node trusted.
   * @param lastAlive when a server last ran on this store; null if that is not known: then nothing is extended
   */
  async start(lastAlive: number | null): Promise<void> {
    const { nodes, rows } = this.#parts;
    const down = lastAlive === null ? 0 : Math.max(0, this.#ports.now() - lastAlive);
    for (const status of await this.#ports.verdicts.statuses()) {
      const expiresAt = status.expiresAt === null ? null : status.expiresAt + down;
      const node = nodes.of(status.name);
      await this.#remember(node, { ...status, expiresAt });
      rows.resume(node, status);
    }
    await this.#holdTwins();
  }

  async #remember(node: OwnedNode, status: NodeStatus): Promise<void> {
    await this.#parts.supplements.restore(status);
    node.status = status;
    node.ekDigest = status.ekDigest;
    node.setDeadline(status.expiresAt, this.#ports.now(), this.#ports.monotonic());
    restoreClaims(this.#parts.claims, node.name, status);
  }

  /** While the server ran the node's time went by, and what nobody aged meanwhile is shown to nobody. */
  async #rememberLate(node: OwnedNode, stored: NodeStatus): Promise<void> {
    await this.#remember(node, stored);
    const { verdict, expiresAt } = stored;
    if (verdict === null || !counts(stored) || !node.isOverdue(this.#ports.monotonic())) return;
    const since = expiresAt ?? this.#ports.now();
    node.showOverdue({ ...overdueStatus(stored, verdict), since }, stored);
  }

  /** Attack: nodes of one TPM, from before that could not be. Whichever is silent now is not trusted any longer, either. */
  async #holdTwins(): Promise<void> {
    const { claims, nodes, commits } = this.#parts;
    const { twins } = claims;
    for (const { name, twin } of await this.#ports.enrolment.twins()) twins.claim(name, twin);
    for (const name of twins.names()) {
      const node = nodes.get(name);
      const status = node?.status ?? null;
      if (node === undefined || status === null || status.verdict === null || isHeldAsTwin(status)) continue;
      const verdict = twinVerdict(status.verdict, name, twins.of(name));
      await commits.hold(node, status, verdict, { trustedAt: lastTrusted(status) });
    }
  }

  /**
   * Has these nodes count for nothing, whatever they proved: they enrolled while the server was on trial, and it is not any more.
   * It is on disk, with its audit entry, before anybody asks.
   */
  async endTrialOf(names: readonly string[]): Promise<void> {
    for (const name of names) {
      const node = this.#parts.nodes.get(name);
      const status = node?.status ?? null;
      if (node === undefined || status === null || status.verdict === null || isOfEndedTrial(status))
        continue;
      const verdict = trialEndedVerdict(status.verdict, name);
      await this.#parts.commits.hold(node, status, verdict, { trustedAt: null, expiresAt: null });
      node.endDeadline();
    }
  }

  /** Adds the banks to a record from before they were kept: those that an answer proved are those that the TPM has. */
  async fixBanks({ name, ekDigest }: EnrolledNode, shown: readonly PcrBank[]): Promise<void> {
    const node = this.#parts.nodes.get(name);
    if (node === undefined || node.hasFixedBanks) return;
    await this.#ports.enrolment.fixBanks(ekDigest, shown);
    node.hasFixedBanks = true;
  }

  /** Loads the stored status of a node unless it is in memory; null if no such node is enrolled. */
  recall(name: string): Promise<NodeStatus | null> {
    return this.#parts.nodes.inOrder(name, async (node) => {
      if (node.status !== null) return node.status;
      const found = await this.#ports.verdicts.status(name);
      if (found !== null) await this.#rememberLate(node, found);
      return node.status;
    });
  }

  /** Attack: a node stays away until its record is archived, so that what was held against it is forgotten. */
  async recallArchived(node: OwnedNode): Promise<void> {
    const archived = await this.#ports.verdicts.archivedStatus(node.name);
    if (archived === null) return;
    await this.#rememberLate(node, archived);
    this.#ports.presence.recalled(node.name);
  }

  /**
   * An answer of the node failed: claims of it that were not written are taken back. If the node is no longer
   * enrolled, nothing of it stays.
   */
  takeBack(node: OwnedNode, akName: string, error: unknown): void {
    const { claims, nodes, verifier } = this.#parts;
    restoreClaims(claims, node.name, node.status);
    const isNone = error instanceof Rejection && error.code === 'enrolment_pending';
    if (node.status !== null || !isNone) return;
    nodes.drop(node);
    verifier.forget(akName);
  }

  /** Does the work while no verdict of these nodes is under way, and knows nothing of those that it gives afterwards. */
  archive(names: readonly string[], work: () => Promise<readonly string[]>): Promise<void> {
    const { nodes } = this.#parts;
    const whole = async () => {
      for (const name of await work()) {
        const node = nodes.get(name);
        if (node !== undefined) nodes.drop(node);
      }
    };
    return names.reduce<() => Promise<void>>((inner, name) => () => nodes.inOrder(name, inner), whole)();
  }

  /**
   * Does the work when no verdict of this node is under way, and knows nothing of the node afterwards.
   * @param akName its attestation key, where it is known
   */
  release(name: string, work: () => Promise<void>, akName?: string): Promise<void> {
    const { claims, nodes, verifier } = this.#parts;
    return nodes.inOrder(name, async (node) => {
      await work();
      nodes.drop(node);
      if (akName !== undefined) verifier.forget(akName);
      claims.twins.release(name);
    });
  }

  /**
   * A person approves the node's key again: what is held against its TPM, and the firmware that it had, are forgotten with
   * the counters, and its next proof counts as the first. False if there is nothing of it.
   */
  approveAgain(name: string, actor: string): Promise<boolean> {
    return this.#parts.nodes.inOrder(name, async (node) => {
      const { status } = node;
      const { held = null, replaced = null } = status?.sequence ?? {};
      const code = held ?? (replaced === null ? null : 'tpm_firmware');
      if (status === null || code === null) return false;
      await this.#ports.enrolment.forgetSequence(status.ekDigest, {
        at: this.#ports.now(),
        actor,
        action: 'enrol.approve',
        subject: name,
        code,
        detail: { ek: status.ekDigest, was: code },
      });
      node.forgetSequence();
      return true;
    });
  }
}

/** Puts back what is stored of the node's claims; null: nothing is. */
function restoreClaims(
  { systemUuids, volumes }: SharedClaims,
  name: string,
  status: NodeStatus | null,
): void {
  systemUuids.restore(name, status?.systemUuid ?? null);
  volumes.restore(name, storedMarks(status));
}

function isHeldAsTwin({ state, verdict }: NodeStatus): boolean {
  const isSaid = verdict?.reasons.some(({ code }) => code === 'ek_already_bound') === true;
  return isSaid && state === 'untrusted';
}

function isOfEndedTrial({ verdict }: NodeStatus): boolean {
  return verdict?.reasons.some(({ code }) => code === 'trial_enrolment') === true;
}
