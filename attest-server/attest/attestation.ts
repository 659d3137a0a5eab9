import { DiskBudget } from '../evidence/disk-budget.ts';
import { packEvidence } from '../evidence/pack.ts';
import type { InForce } from '../in-force/in-force.ts';
import { overdueVerdict } from '../policy/appraise.ts';
import type { ReasonCode } from '../protocol/reasons.ts';
import type { NodeState, Verdict } from '../protocol/verdict.ts';
import type { NodeStatus, VerdictRecord } from '../store/store.ts';
import type { Proven } from '../verify/proven.ts';
import { verify } from '../verify/verify.ts';
import type { Answer, AttestedNode } from './answer.ts';
import { BootLogs } from './boot-logs.ts';
import { Deadlines } from './deadlines.ts';
import { Lanes } from './lanes.ts';
import { type LatestBoot, latestBoot, quotesOf } from './latest-boot.ts';
import { nextStatus } from './next-status.ts';
import { isConcurrent, previousOf, sequenceOf } from './node-sequence.ts';
import type { AttestPorts } from './ports.ts';
import { SystemUuids } from './system-uuids.ts';
import { type Proof, Unwritten } from './unwritten.ts';
import { changeRecord, summaryRecord } from './verdict-record.ts';

/**
 * The pipeline: verify, appraise, record, report. Keeps in memory what the next verdict of each node needs; all of it
 * is read from the store again at a start.
 */
export class Attestation {
  readonly #ports: AttestPorts;
  readonly #statuses = new Map<string, NodeStatus>();
  readonly #latest = new Map<string, LatestBoot>();
  readonly #bootLogs: BootLogs;
  readonly #systemUuids = new SystemUuids();
  readonly #disk: DiskBudget;
  readonly #lanes = new Lanes();
  readonly #deadlines: Deadlines;

  private constructor(ports: AttestPorts) {
    this.#ports = ports;
    this.#deadlines = new Deadlines(() => ports.monotonic());
    this.#bootLogs = new BootLogs((digest) => ports.store.evidence(digest));
    this.#disk = new DiskBudget(ports.challengeEvery);
  }

  /**
   * Time in which the server was down extends every deadline, and nothing else does: a server that starts again and
   * again keeps no silent node trusted.
   * @param lastAlive when a server last ran on this store; null where that is not known: then nothing is extended
   */
  static async open(ports: AttestPorts, lastAlive: number | null): Promise<Attestation> {
    const attestation = new Attestation(ports);
    const down = lastAlive === null ? 0 : Math.max(0, ports.now() - lastAlive);
    for (const status of await ports.verdicts.statuses()) {
      const expiresAt = status.expiresAt === null ? null : status.expiresAt + down;
      attestation.#statuses.set(status.name, { ...status, expiresAt });
      attestation.#deadlines.set(status.name, expiresAt, ports.now());
      attestation.#systemUuids.remember(status.name, status.systemUuid);
    }
    return attestation;
  }

  statuses(): readonly NodeStatus[] {
    return [...this.#statuses.values()];
  }

  status(name: string): NodeStatus | null {
    return this.#statuses.get(name) ?? null;
  }

  /** What the node last proved of its boot; null where it did not do so lately. */
  latest(name: string): LatestBoot | null {
    const latest = this.#latest.get(name);
    return latest === undefined || this.#ports.now() > latest.at + this.#ports.unknownAfter ? null : latest;
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
    const bootLog = await this.#bootLogs.of(answer);
    const started = performance.now();
    const { evidence } = answer;
    const proven = verify(
      {
        quotes: quotesOf(evidence, node.ak.name, this.#latest.get(node.name)),
        facts: evidence.facts,
        bootLog,
      },
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
      await this.#commit(changeRecord(aged, now, [verdict], status.state, []), status.state);
    } catch (error) {
      // Not trusted any longer, though it could not be written down.
      this.#statuses.set(status.name, aged);
      this.#unwritten.forget(status.name);
      throw error;
    }
  }

  /** Does the work when no verdict of this node is under way, and knows nothing of the node afterwards. */
  release(name: string, work: () => Promise<void>): Promise<void> {
    return this.#lanes.inOrder(name, async () => {
      await work();
      this.#statuses.delete(name);
      this.#deadlines.forget(name);
      this.#latest.delete(name);
      this.#systemUuids.forget(name);
      this.#bootLogs.forget(name);
      this.#disk.forget(name);
      this.#unwritten.forget(name);
    });
  }

  /**
   * A person approves the node's key again: what is held against its TPM is forgotten with the counters, and its next
   * proof counts as the first. False where nothing is held.
   */
  approveAgain(name: string, actor: string): Promise<boolean> {
    return this.#lanes.inOrder(name, async () => {
      const status = this.#statuses.get(name);
      const held = status?.sequence?.held ?? null;
      if (status === undefined || held === null) return false;
      await this.#ports.store.forgetSequence(status.ekDigest, {
        at: this.#ports.now(),
        actor,
        action: 'enrol.approve',
        subject: name,
        code: held,
        detail: { ek: status.ekDigest, was: held },
      });
      this.#statuses.set(name, {
        ...(this.#statuses.get(name) ?? status),
        resetCount: null,
        restartCount: null,
        clock: null,
        firmwareVersion: null,
        bootId: null,
        sequence: null,
      });
      return true;
    });
  }

  /** Resolves when no verdict is under way, and all are on disk. */
  async idle(): Promise<void> {
    await this.#lanes.idle();
    await this.#ports.verdicts.settled();
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
    const sentBootLog = previous?.parts.boot !== undefined;
    const { challengedAt } = answer;
    const concurrent = isConcurrent(previous, { challengedAt, clock: proven.clock.clock });
    const { appraise, context } = this.#ports.inForce();
    const { group, labels } = this.#groupOf(node.name);
    const { verdict, begun, next } = appraise(
      proven,
      {
        name: node.name,
        labels,
        tpmClass: node.tpmClass ?? 'unknown',
        past: {
          sequence: previous === null ? null : sequenceOf(previous),
          concurrent,
          sentParts: sentBootLog ? ['boot'] : [],
          memory: {},
        },
      },
      at,
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
    const status = nextStatus(node, verdict, {
      ...{ answer, proven, previous, next: next.sequence, at, systemUuid, evidenceDigest: kept.digest },
      begun: begun?.code ?? null,
      holdsFor: Math.min(this.#ports.unknownAfter, (group.freshness ?? Number.POSITIVE_INFINITY) * 1000),
    });
    const shared = [...kept.shared];
    if (answer.bootLog !== null && answer.bootLog.digest === answer.evidence.bootLog) {
      this.#bootLogs.count(node.name, proven.clock.resetCount, answer.bootLog.digest);
      shared.push(answer.bootLog);
    }
    const { userspaceLog = '' } = answer.evidence;
    const isSame = previous !== null && sequence.begun === null && saysTheSame(previous, status);
    if (isSame && !this.#isSummaryDue(previous, at)) {
      // Shared with no other answer yet: this part of it stays.
      if (status.parts.userSpace !== previous.parts.userSpace)
        this.#disk.take(node.name, userspaceLog.length, at);
      this.#repeat(previous, status, { own: kept, shared }, at);
    } else {
      this.#disk.take(node.name, kept.bytes.length + userspaceLog.length, at);
      const verdicts =
        sequence.begun !== null && verdict.require.includes('boot')
          ? [begunVerdict(verdict, sequence.begun), verdict]
          : [verdict];
      const from = previous?.state ?? null;
      const evidence = [kept, ...shared];
      await this.#commit(
        isSame
          ? summaryRecord(status, at, verdict, evidence)
          : changeRecord(status, at, verdicts, from, evidence),
        from,
      );
      this.#deadlines.set(node.name, status.expiresAt, at);
    }
    const begunWith = begun?.verdict ?? null;
    const verdicts = begunWith === null ? [verdict] : [begunWith, verdict];
    await this.#commit(status, at, verdicts, previous?.state ?? null, evidence);
    this.#deadlines.set(node.name, status.expiresAt, at);
    this.#latest.set(node.name, latestBoot(proven, answer.evidence, at, latest));
    return { state: verdict.state, codes: verdict.reasons.map((reason) => reason.code) };
  }

  /** Also where the clock was set back: the row would be due at a moment that is far away. */
  #isSummaryDue({ recordedAt }: NodeStatus, at: number): boolean {
    const every = this.#ports.summaryEvery ?? timings.summaryEvery;
    return recordedAt === null || at < recordedAt || at >= recordedAt + every;
  }

  /** The verdict is the one before: it is shown at once, and written within a second. */
  #repeat(
    previous: NodeStatus,
    judged: NodeStatus,
    evidence: { readonly own: KeptBlob; readonly shared: readonly KeptBlob[] },
    at: number,
  ): void {
    const { name } = judged;
    const { verdict } = previous;
    if (verdict === null) return;
    const status = { ...judged, verdict, verifiedAt: at, repeats: previous.repeats + 1 };
    const before = this.#proofOf(previous);
    this.#statuses.set(name, status);
    this.#deadlines.set(name, status.expiresAt, at);
    const written = this.#ports.verdicts.recordRepeat({
      ...status,
      evidenceDigest: evidence.own.digest,
      evidence,
    });
    this.#unwritten
      .follow(name, before, this.#proofOf(status), written)
      .catch((error: unknown) => this.#ports.fault(error, 'verdict'));
    const { digest } = evidence.own;
    this.#ports.recorded(
      { node: name, at, verdict, evidenceDigest: digest, transition: false, repeats: 0, since: at },
      status.state,
    );
  }

  #proofOf({ name, verifiedAt, expiresAt }: NodeStatus): Proof {
    return { verifiedAt, expiresAt, deadline: this.#deadlines.of(name) };
  }

  #show(name: string, { verifiedAt, expiresAt, deadline }: Proof): void {
    const status = this.#statuses.get(name);
    if (status === undefined || status.verifiedAt === verifiedAt) return;
    this.#statuses.set(name, { ...status, verifiedAt, expiresAt });
    this.#deadlines.restore(name, deadline);
  }

  #groupOf(node: string): ReturnType<InForce['groupOf']> {
    return this.#ports.inForce().groupOf(node, this.#ports.labelsOf(node));
  }

  async #commit(record: ChangeRecord, before: NodeState | null): Promise<void> {
    const started = performance.now();
    const { status } = record;
    await this.#ports.verdicts.recordChange(record);
    this.#statuses.set(status.name, status);
    this.#unwritten.forget(status.name);
    this.#ports.duration('record', (performance.now() - started) / 1000);
    let from = before;
    for (const entry of record.history) {
      this.#ports.recorded({ node: status.name, ...entry }, from);
      from = entry.verdict.state;
    }
  }
}
