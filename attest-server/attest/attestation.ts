import { hash } from 'node:crypto';
import { DiskBudget } from '../evidence/disk-budget.ts';
import { LogsPerBoot } from '../evidence/logs-per-boot.ts';
import { packEvidence } from '../evidence/pack.ts';
import { InForce } from '../in-force/in-force.ts';
import { amend } from '../policy/amend.ts';
import type { Policy } from '../policy/policy.ts';
import type { Part, PartName, Parts } from '../protocol/evidence.ts';
import { timings } from '../protocol/limits.ts';
import type { ReasonCode } from '../protocol/reasons.ts';
import type { Reference } from '../protocol/reference.ts';
import { Rejection } from '../protocol/rejection.ts';
import type { NodeState, Verdict } from '../protocol/verdict.ts';
import { type CaptureRequest, captured } from '../references/captured.ts';
import type { NodeStatus, VerdictRecord } from '../store/store.ts';
import type { Proven } from '../verify/proven.ts';
import { Verifier } from '../verify/verifier.ts';
import type { Answer, AttestedNode } from './answer.ts';
import { Deadlines } from './deadlines.ts';
import { Lanes } from './lanes.ts';
import { type LatestBoot, latestBoot, quotesOf } from './latest-boot.ts';
import { nextStatus } from './next-status.ts';
import { isConcurrent, judgeNode, previousOf } from './node-sequence.ts';
import type { AttestPorts } from './ports.ts';
import { begunVerdict, overdueVerdict } from './server-verdicts.ts';
import { SystemUuids } from './system-uuids.ts';
import { verdictRecord } from './verdict-record.ts';

/**
 * The pipeline: verify, appraise, record, tell. Keeps in memory what the next verdict of each node needs; all of it
 * is read from the store again at a start.
 */
export class Attestation {
  readonly #ports: AttestPorts;
  readonly #statuses = new Map<string, NodeStatus>();
  readonly #latest = new Map<string, LatestBoot>();
  readonly #verifier = new Verifier();
  readonly #logsPerBoot = new LogsPerBoot();
  readonly #systemUuids = new SystemUuids();
  readonly #disk: DiskBudget;
  readonly #lanes = new Lanes();
  readonly #deadlines: Deadlines;
  #inForce: InForce;

  private constructor(ports: AttestPorts, policy: Policy) {
    this.#ports = ports;
    this.#deadlines = new Deadlines(ports.monotonic);
    this.#disk = new DiskBudget(ports.challengeEvery ?? timings.challengeEvery);
    this.#inForce = new InForce(policy, []);
  }

  /**
   * Time in which the server was down extends every deadline, and nothing else does: a server that starts again and
   * again keeps no silent node trusted.
   * @param lastAlive when a server last ran on this store; null where that is not known: then nothing is extended
   */
  static async open(ports: AttestPorts, policy: Policy, lastAlive: number | null): Promise<Attestation> {
    const attestation = new Attestation(ports, policy);
    const down = lastAlive === null ? 0 : Math.max(0, ports.now() - lastAlive);
    for (const status of await ports.store.statuses()) {
      const expiresAt = status.expiresAt === null ? null : status.expiresAt + down;
      attestation.#statuses.set(status.name, { ...status, expiresAt });
      attestation.#deadlines.set(status.name, expiresAt, ports.now());
      attestation.#systemUuids.remember(status.name, status.systemUuid);
    }
    await attestation.reload(policy);
    return attestation;
  }

  get policy(): Policy {
    return this.#inForce.policy;
  }

  statuses(): readonly NodeStatus[] {
    return [...this.#statuses.values()];
  }

  status(name: string): NodeStatus | null {
    return this.#statuses.get(name) ?? null;
  }

  /** Puts the stored references in force, and a policy. @param next default: the one that is in force by then */
  async reload(next?: Policy): Promise<void> {
    const references = await this.#ports.store.references();
    this.#inForce = new InForce(next ?? this.#inForce.policy, references);
  }

  /**
   * Judges one answer; when this resolves, the verdict is on disk.
   * @throws Rejection where the evidence is bad: nothing is stored and no state changes
   */
  async judge(
    node: AttestedNode,
    answer: Answer,
  ): Promise<{ state: NodeState; codes: readonly ReasonCode[] }> {
    this.#disk.check(node.name, this.#ports.now());
    const parts = await this.#partsOf(answer);
    const started = performance.now();
    const { evidence } = answer;
    const proven = this.#verifier.verify(
      { quotes: quotesOf(evidence), facts: evidence.facts, parts },
      {
        ak: node.ak,
        ekDigest: node.ekDigest,
        judgeHierarchy: true,
        binding: {
          nonce: answer.nonce,
          channel: answer.channel,
          claimedChannel: Buffer.from(evidence.channel, 'base64'),
          session: { node: node.name, helloDigest: answer.helloDigest, purpose: 'attest' },
        },
        selection: answer.selection,
      },
    );
    this.#ports.duration('verify', (performance.now() - started) / 1000);
    return this.#lanes.inOrder(node.name, () =>
      this.#record(node, answer, proven).catch((error: unknown) => {
        // What was not written down was not said, also by a node that was revoked meanwhile.
        this.#systemUuids.restore(node.name, this.#statuses.get(node.name)?.systemUuid ?? null);
        throw error;
      }),
    );
  }

  /**
   * Makes the node's latest proven boot a reference value.
   * @throws Error where there is no fresh evidence, or the boot does not replay
   */
  async capture(request: CaptureRequest): Promise<Reference> {
    const latest = this.#latest.get(request.node);
    const at = this.#ports.now();
    if (latest === undefined || at > latest.at + this.#ports.unknownAfter)
      throw new Rejection(
        'evidence_overdue',
        `${request.node} has not proven itself lately: wait for its next answer`,
      );
    const reference = captured(latest, this.#statuses.get(request.node) ?? null, {
      ...request,
      group: this.#groupOf(request.node).group,
      at,
    });
    await this.#ports.store.addReference(reference, {
      ...{ at, actor: request.actor, action: 'reference.capture', subject: request.name, code: null },
      detail: { node: request.node, state: reference.state },
    });
    await this.reload();
    return reference;
  }

  /**
   * Ages what is overdue: silence is never trusted, and launders nothing that was untrusted.
   * @throws AggregateError where the store refuses some of it; no node stays trusted for that
   */
  async sweep(): Promise<void> {
    const now = this.#ports.now();
    const overdue = this.statuses().filter(
      ({ name, state, verdict }) =>
        verdict !== null && this.#deadlines.isOver(name) && (state === 'trusted' || state === 'pending'),
    );
    const aged = await Promise.allSettled(
      overdue.map((status) => this.#lanes.inOrder(status.name, () => this.#age(status, now))),
    );
    const faults = aged.flatMap((each) => (each.status === 'rejected' ? [each.reason] : []));
    if (faults.length > 0) throw new AggregateError(faults, `${faults.length} nodes could not be aged`);
  }

  async #age(status: NodeStatus, now: number): Promise<void> {
    // A verdict may have come while this one waited its turn.
    if (this.#statuses.get(status.name) !== status || status.verdict === null) return;
    const verdict = overdueVerdict(status.verdict, status.verifiedAt, now);
    const aged: NodeStatus = { ...status, state: 'unknown', verdict };
    try {
      await this.#commit(aged, now, [verdict], status.state, []);
    } catch (error) {
      // Not trusted any longer, though it could not be written down.
      this.#statuses.set(status.name, aged);
      throw error;
    }
  }

  /** Does the work when no verdict of this node is under way, and knows nothing of the node afterwards. */
  release(name: string, work: () => Promise<void>): Promise<void> {
    return this.#lanes.inOrder(name, async () => {
      await work();
      this.#statuses.delete(name);
      this.#deadlines.forget(name);
      const latest = this.#latest.get(name);
      if (latest !== undefined) this.#verifier.forget(latest.akName);
      this.#latest.delete(name);
      this.#systemUuids.forget(name);
      this.#logsPerBoot.forget(name);
      this.#disk.forget(name);
    });
  }

  /**
   * A person approves the node's key again: what is held against its TPM is forgotten with the counters, and its next
   * proof counts as the first. False where nothing is held.
   */
  forgive(name: string, actor: string): Promise<boolean> {
    return this.#lanes.inOrder(name, async () => {
      const status = this.#statuses.get(name);
      const held = status?.sequence?.held ?? null;
      if (status === undefined || held === null) return false;
      await this.#ports.store.forgetSequence(status.ekDigest, {
        ...{ at: this.#ports.now(), actor, action: 'enrol.approve', subject: name, code: held },
        detail: { ek: status.ekDigest, was: held },
      });
      const forgotten = { resetCount: null, restartCount: null, clock: null, firmwareVersion: null };
      this.#statuses.set(name, { ...status, ...forgotten, bootId: null, sequence: null });
      return true;
    });
  }

  /** Resolves when no verdict is under way. */
  async idle(): Promise<void> {
    await this.#lanes.idle();
  }

  /** What came along, and what the verifier does not remember of the rest, from the store. */
  async #partsOf({ evidence, bootLog }: Answer): Promise<Parts> {
    const parts: Partial<Record<PartName, Part>> = {};
    const digest = evidence.bootLog;
    if (digest !== null) parts.boot = { digest, bytes: bootLog?.digest === digest ? bootLog.bytes : null };
    if (evidence.userspaceLog !== undefined) {
      const bytes = Buffer.from(evidence.userspaceLog, 'base64');
      parts.userSpace = { digest: hash('sha256', bytes, 'hex'), bytes };
    }
    for (const name of this.#verifier.missing(parts)) {
      const part = parts[name];
      if (part !== undefined)
        parts[name] = { digest: part.digest, bytes: await this.#ports.store.evidence(part.digest) };
    }
    return parts;
  }

  async #record(
    node: AttestedNode,
    answer: Answer,
    proven: Proven,
  ): Promise<{ state: NodeState; codes: readonly ReasonCode[] }> {
    const at = this.#ports.now();
    const systemUuid = this.#systemUuids.claim(node.name, proven.facts?.host?.systemUuid);
    const started = performance.now();
    const previous = this.#statuses.get(node.name) ?? null;
    const sentBootLog = previous?.bootLogDigest != null;
    const { challengedAt } = answer;
    const concurrent = isConcurrent(previous, { challengedAt, clock: proven.clock.clock });
    const { appraise, context } = this.#inForce;
    const { group, labels } = this.#groupOf(node.name);
    const sequence = judgeNode(proven, previous, concurrent);
    const verdict = amend(
      appraise(proven, { name: node.name, sentBootLog, labels, tpmClass: node.tpmClass ?? 'unknown' }, at),
      sequence.findings,
      group,
    );
    this.#ports.duration('appraise', (performance.now() - started) / 1000);

    const latest = this.#latest.get(node.name);
    const kept = packEvidence(
      node,
      answer,
      proven,
      { at, sentBootLog, labels, latest, previous: previousOf(previous, concurrent) },
      context,
    );
    const { userspaceLog = '' } = answer.evidence;
    this.#disk.take(node.name, kept.bytes.length + userspaceLog.length, at);
    const status = nextStatus(node, verdict, {
      ...{ answer, proven, previous, sequence, at, systemUuid, evidenceDigest: kept.digest },
      holdsFor: Math.min(this.#ports.unknownAfter, (group.freshness ?? Number.POSITIVE_INFINITY) * 1000),
    });
    const evidence = [kept, ...kept.shared];
    if (answer.bootLog !== null && answer.bootLog.digest === answer.evidence.bootLog) {
      this.#logsPerBoot.count(node.name, proven.clock.resetCount, answer.bootLog.digest);
      evidence.push(answer.bootLog);
    }
    const verdicts =
      sequence.begun !== null && verdict.require.includes('boot')
        ? [begunVerdict(verdict, sequence.begun), verdict]
        : [verdict];
    await this.#commit(status, at, verdicts, previous?.state ?? null, evidence);
    this.#deadlines.set(node.name, status.expiresAt, at);
    this.#latest.set(node.name, latestBoot(proven, answer.evidence, at, latest));
    return { state: verdict.state, codes: verdict.reasons.map((reason) => reason.code) };
  }

  #groupOf(node: string): ReturnType<InForce['groupOf']> {
    return this.#inForce.groupOf(node, this.#ports.labelsOf?.(node) ?? {});
  }

  async #commit(
    status: NodeStatus,
    at: number,
    verdicts: readonly Verdict[],
    before: NodeState | null,
    evidence: VerdictRecord['evidence'],
  ): Promise<void> {
    const started = performance.now();
    const record = verdictRecord(status, at, verdicts, before, evidence);
    await this.#ports.store.recordVerdict(record);
    this.#statuses.set(status.name, status);
    this.#ports.duration('record', (performance.now() - started) / 1000);
    let from = before;
    for (const entry of record.history) {
      this.#ports.recorded({ node: status.name, ...entry }, from);
      from = entry.verdict.state;
    }
  }
}
