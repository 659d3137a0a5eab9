import { createAppraiser } from '../policy/appraise.ts';
import { captureReference } from '../policy/capture.ts';
import { groupOf, type Policy } from '../policy/policy.ts';
import type { EvidenceMessage } from '../protocol/messages.ts';
import { classOf, type ReasonCode } from '../protocol/reasons.ts';
import type { Reference } from '../protocol/reference.ts';
import { Rejection } from '../protocol/rejection.ts';
import type { NodeState, Reason, Verdict } from '../protocol/verdict.ts';
import type { HistoryEntry, NodeStatus, Store } from '../store/store.ts';
import type { AttestationKey } from '../verify/attestation-key.ts';
import { measureBoot } from '../verify/measured-boot.ts';
import type { MeasuredBoot, Proven, QuotedBank } from '../verify/proven.ts';
import { verify } from '../verify/verify.ts';
import { keptEvidence } from './kept-evidence.ts';
import { type LatestBoot, latestBoot } from './latest-boot.ts';

/** The node that a connection is: its record's fields that judging needs, the key imported once. */
export interface AttestedNode {
  readonly name: string;
  readonly ekDigest: string;
  readonly ekPublicArea: Buffer;
  readonly ekCertificate: Buffer | null;
  readonly ak: AttestationKey;
}

/** One answer as it arrived, beside what the connection knows. */
export interface Answer {
  readonly evidence: EvidenceMessage;
  readonly nonce: Buffer;
  readonly channel: Buffer;
  readonly helloDigest: string;
  readonly selection: Parameters<typeof verify>[1]['selection'];
  readonly bootLog: { readonly digest: string; readonly bytes: Buffer } | null;
}

export interface AttestPorts {
  readonly store: Store;
  /** Milliseconds since the epoch. */
  now(): number;
  /** How long a verdict holds without a new one, in milliseconds. */
  readonly unknownAfter: number;
  /** Seconds spent in one phase of an attestation. */
  duration(phase: 'verify' | 'appraise' | 'record', seconds: number): void;
  /** A verdict was committed. `from` is the state before it. */
  recorded(entry: HistoryEntry, from: NodeState | null): void;
}

/**
 * The pipeline: verify, appraise, record, tell. Keeps in memory what the next verdict of each node needs; all of it
 * is read from the store again at a start.
 */
export class Attestation {
  readonly #ports: AttestPorts;
  readonly #statuses = new Map<string, NodeStatus>();
  readonly #latest = new Map<string, LatestBoot>();
  readonly #boots = new Map<
    string,
    { readonly bytes: Buffer; readonly pcrDigest: string; readonly boot: MeasuredBoot }
  >();
  readonly #lanes = new Map<string, Promise<unknown>>();
  readonly #logsSent = new Map<string, { readonly resetCount: number; readonly count: number }>();
  #policy: Policy;
  #references: readonly Reference[] = [];
  #appraise: ReturnType<typeof createAppraiser>;
  #context: ReturnType<typeof keptEvidence.context>;

  private constructor(ports: AttestPorts, policy: Policy) {
    this.#ports = ports;
    this.#policy = policy;
    this.#appraise = createAppraiser(policy, []);
    this.#context = keptEvidence.context(policy.text, []);
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
    }
    await attestation.reload(policy);
    return attestation;
  }

  get policy(): Policy {
    return this.#policy;
  }

  statuses(): readonly NodeStatus[] {
    return [...this.#statuses.values()];
  }

  status(name: string): NodeStatus | null {
    return this.#statuses.get(name) ?? null;
  }

  /** Puts a policy and the stored references in force. */
  async reload(policy: Policy): Promise<void> {
    this.#references = await this.#ports.store.references();
    this.#policy = policy;
    this.#appraise = createAppraiser(policy, this.#references);
    this.#context = keptEvidence.context(policy.text, this.#references);
  }

  /**
   * Judges one answer; when this resolves, the verdict is on disk.
   * @throws Rejection where the evidence is bad: nothing is stored and no state changes
   */
  async judge(
    node: AttestedNode,
    answer: Answer,
  ): Promise<{ state: NodeState; codes: readonly ReasonCode[] }> {
    const bootLog = await this.#bootLog(answer);
    const started = performance.now();
    const { evidence } = answer;
    const proven = verify(
      {
        quotes: evidence.quotes.map(({ attest, signature, pcrs }) => ({
          attest: Buffer.from(attest, 'base64'),
          signature: Buffer.from(signature, 'base64'),
          pcrs: Object.fromEntries(
            Object.entries(pcrs).map(([bank, values]) => [bank, Buffer.from(values, 'base64')]),
          ),
        })),
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
    return this.#inOrder(node.name, () => this.#record(node, answer, proven));
  }

  /**
   * Makes the node's latest proven boot a reference value.
   * @throws Error where there is no fresh evidence, or the boot does not replay
   */
  async capture(request: { node: string; name: string; staged: boolean; actor: string }): Promise<Reference> {
    const latest = this.#latest.get(request.node);
    const at = this.#ports.now();
    if (latest === undefined || at > latest.at + this.#ports.unknownAfter)
      throw new Rejection(
        'evidence_overdue',
        `${request.node} has not proven itself lately: wait for its next answer`,
      );
    const reference = captureReference(latest, {
      name: request.name,
      group: groupOf(this.#policy, request.node).name,
      state: request.staged ? 'staged' : 'active',
      by: request.actor,
      node: request.node,
      at,
    });
    await this.#ports.store.addReference(reference, {
      at,
      actor: request.actor,
      action: 'reference.capture',
      subject: request.name,
      code: null,
      detail: { node: request.node, state: reference.state },
    });
    await this.reload(this.#policy);
    return reference;
  }

  /**
   * Ages what is overdue: silence is never trusted, and launders nothing that was untrusted.
   * @throws AggregateError where the store refuses some of it; no node stays trusted for that
   */
  async sweep(): Promise<void> {
    const now = this.#ports.now();
    const overdue = this.statuses().filter(
      ({ state, verdict, expiresAt }) =>
        verdict !== null &&
        expiresAt !== null &&
        now > expiresAt &&
        (state === 'trusted' || state === 'pending'),
    );
    const aged = await Promise.allSettled(
      overdue.map((status) => this.#inOrder(status.name, () => this.#age(status, now))),
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
    return this.#inOrder(name, async () => {
      await work();
      this.#statuses.delete(name);
      this.#latest.delete(name);
      this.#logsSent.delete(name);
    });
  }

  /** Resolves when no verdict is under way. */
  async idle(): Promise<void> {
    await Promise.all(this.#lanes.values());
  }

  async #bootLog({ evidence, bootLog }: Answer): Promise<Parameters<typeof verify>[0]['bootLog']> {
    const digest = evidence.bootLog;
    if (digest === null) return null;
    const sent = bootLog?.digest === digest ? bootLog.bytes : null;
    const remembered = this.#boots.get(digest);
    const bytes = sent ?? (remembered === undefined ? await this.#ports.store.evidence(digest) : null);
    return {
      digest,
      measure: (banks) => {
        const pcrDigest = banks.map((bank) => `${bank.bank} ${bank.pcrDigest}`).join(' ');
        if (remembered?.pcrDigest === pcrDigest) return remembered.boot;
        return this.#measure(bytes ?? remembered?.bytes ?? missing(), digest, banks, pcrDigest);
      },
    };
  }

  /** A log that does not change within a boot is parsed once per set of PCR values. */
  #measure(bytes: Buffer, digest: string, banks: readonly QuotedBank[], pcrDigest: string): MeasuredBoot {
    const boot = measureBoot(bytes, digest, banks);
    // What does not replay may be made up anew for each answer, and is worth no memory.
    if (boot.problems.length > 0) return boot;
    const [oldest] = this.#boots.keys();
    if (this.#boots.size >= rememberedBoots && oldest !== undefined) this.#boots.delete(oldest);
    this.#boots.set(digest, { bytes, pcrDigest, boot });
    return boot;
  }

  async #record(
    node: AttestedNode,
    answer: Answer,
    proven: Proven,
  ): Promise<{ state: NodeState; codes: readonly ReasonCode[] }> {
    const at = this.#ports.now();
    const started = performance.now();
    const previous = this.#statuses.get(node.name) ?? null;
    const sentBootLog = previous?.bootLogDigest != null;
    const verdict = this.#appraise(proven, { name: node.name, sentBootLog }, at);
    this.#ports.duration('appraise', (performance.now() - started) / 1000);

    const rebooted = previous?.resetCount != null && proven.clock.resetCount !== previous.resetCount;
    const kept = keptEvidence.pack(node, answer, proven, { at, sentBootLog }, this.#context);
    const status: NodeStatus = {
      name: node.name,
      ekDigest: node.ekDigest,
      state: verdict.state,
      verdict,
      verifiedAt: at,
      expiresAt: at + this.#ports.unknownAfter,
      bootedAt: previous === null || rebooted || previous.bootedAt === null ? at : previous.bootedAt,
      resetCount: proven.clock.resetCount,
      restartCount: proven.clock.restartCount,
      clock: proven.clock.clock,
      firmwareVersion: proven.firmwareVersion,
      bootId: proven.facts?.bootId ?? null,
      kernel: proven.facts?.host?.kernel ?? null,
      // Stays when a node leaves its log out: who once sent one is known to have one.
      bootLogDigest: answer.evidence.bootLog ?? previous?.bootLogDigest ?? null,
      evidenceDigest: kept.digest,
    };
    const evidence = [{ digest: kept.digest, bytes: kept.bytes }, ...this.#context.blobs];
    if (answer.bootLog !== null && answer.bootLog.digest === answer.evidence.bootLog) {
      if (!this.#boots.has(answer.bootLog.digest)) this.#countLog(node.name, proven.clock.resetCount);
      evidence.push(answer.bootLog);
    }
    const verdicts =
      rebooted && verdict.require.includes('boot') ? [rebootedVerdict(verdict), verdict] : [verdict];
    await this.#commit(status, at, verdicts, previous?.state ?? null, evidence);
    this.#latest.set(node.name, latestBoot(proven, at, this.#latest.get(node.name)));
    return { state: verdict.state, codes: verdict.reasons.map((reason) => reason.code) };
  }

  /**
   * A firmware log does not change within a boot, so a node that sends another one with every answer fills our disk.
   * @throws Rejection `too_large`: nothing is stored, the state stays and ages
   */
  #countLog(node: string, resetCount: number): void {
    const before = this.#logsSent.get(node);
    const count = before?.resetCount === resetCount ? before.count + 1 : 1;
    if (count > logsPerBoot)
      throw new Rejection('too_large', `${node} has sent ${logsPerBoot} boot logs since it booted`, {
        field: 'bootLog',
      });
    this.#logsSent.set(node, { resetCount, count });
  }

  async #commit(
    status: NodeStatus,
    at: number,
    verdicts: readonly Verdict[],
    before: NodeState | null,
    evidence: readonly { digest: string; bytes: Buffer }[],
  ): Promise<void> {
    const started = performance.now();
    let from = before;
    const history = verdicts.map((verdict) => {
      const transition = verdict.state !== from;
      const entry = { at, verdict, evidenceDigest: status.evidenceDigest, transition };
      from = verdict.state;
      return entry;
    });
    await this.#ports.store.recordVerdict({
      status,
      at,
      evidence,
      history,
      audit: history.map(({ verdict, transition }) => ({
        at,
        actor: 'server',
        action: 'verdict',
        subject: status.name,
        code: verdict.reasons[0]?.code ?? null,
        detail: { state: verdict.state, policy: verdict.policy, evidence: status.evidenceDigest, transition },
      })),
    });
    this.#statuses.set(status.name, status);
    this.#ports.duration('record', (performance.now() - started) / 1000);
    from = before;
    for (const entry of history) {
      this.#ports.recorded({ node: status.name, ...entry }, from);
      from = entry.verdict.state;
    }
  }

  /** One verdict of a node after the other, whatever number of connections it has. */
  #inOrder<T>(name: string, work: () => Promise<T>): Promise<T> {
    const turn = (this.#lanes.get(name) ?? Promise.resolve()).then(work, work);
    const settled = turn.catch(() => undefined);
    this.#lanes.set(name, settled);
    settled.then(() => {
      if (this.#lanes.get(name) === settled) this.#lanes.delete(name);
    });
    return turn;
  }
}

/** How many parsed boots are kept; an unchanged one is not parsed again. */
const rememberedBoots = 512;

/** How many boot logs of one node and boot are kept: enough for an agent that is started anew. */
const logsPerBoot = 8;

function missing(): never {
  throw new Rejection('malformed', 'the evidence names a boot log that was not sent', { field: 'bootLog' });
}

function overdueVerdict(verdict: Verdict, verifiedAt: number | null, now: number): Verdict {
  const silent = verifiedAt === null ? null : `${Math.round((now - verifiedAt) / 1000)} s ago`;
  return {
    ...verdict,
    state: 'unknown',
    reasons: [
      serverReason('evidence_overdue', 'identity', 'fail', 'The node has not proven itself lately.', {
        expected: 'a fresh quote',
        actual: silent === null ? null : `the last one ${silent}`,
      }),
    ],
    aspects: Object.fromEntries(
      Object.keys(verdict.aspects).map((aspect) => [aspect, { status: 'none', source: 'server' }]),
    ),
  };
}

function rebootedVerdict(verdict: Verdict): Verdict {
  const text = 'The TPM was reset: the node booted again, and this boot is not appraised yet.';
  return {
    ...verdict,
    state: 'pending',
    reasons: [{ ...serverReason('rebooted', 'boot', 'info', text), source: 'tpm' }],
    aspects: { ...verdict.aspects, boot: { status: 'none', source: 'tpm' } },
  };
}

function serverReason(
  code: ReasonCode,
  aspect: Reason['aspect'],
  severity: Reason['severity'],
  text: string,
  values: { expected: string | null; actual: string | null } = { expected: null, actual: null },
): Reason {
  return { code, class: classOf(code), aspect, severity, source: 'server', ...values, text, evidence: null };
}
