import { hash } from 'node:crypto';
import type { ChangeRecord, NodeStatus, RepeatRecord } from '../../../attest-server/attest/ports.ts';
import type { EnrolledNode } from '../../../attest-server/enrolment/ports.ts';
import type { AuditAction, AuditEvent } from '../../../attest-server/formats/audit.ts';
import { classOf, type ReasonCode } from '../../../attest-server/wire/reasons.ts';
import type { NodeState, Verdict } from '../../../attest-server/wire/verdict.ts';

/** Records as a server would write them, with a few values that are easy to lose on the way. */
export function madeNode(name: string, ekSeed = name): EnrolledNode {
  return {
    ekDigest: hash('sha256', ekSeed, 'hex'),
    keyDigest: hash('sha256', `key ${ekSeed}`, 'hex'),
    name,
    bound: 'pin',
    ekPublicArea: Buffer.from([0, 1, 255]),
    ekCertificate: null,
    akPublicArea: Buffer.from(`ak of ${ekSeed}`),
    akName: `000b${hash('sha256', `ak ${ekSeed}`, 'hex')}`,
    banks: ['sha256', 'sha384'],
    manufacturer: 'IBM',
    tpmClass: 'virtual',
    endorsedBy: 'ef'.repeat(32),
    enrolledAt: 1_000,
    enrolledBy: 'token:alice',
  };
}

export function madeEvent(action: AuditAction, subject: string): AuditEvent {
  return { at: 1_000, actor: 'server', action, subject, code: null, detail: { b: 1, a: 'ü\0', 10: true } };
}

export function madeVerdict(state: NodeState, ...codes: readonly ReasonCode[]): Verdict {
  return {
    state,
    reasons: codes.map((code) => ({
      code,
      class: classOf(code),
      aspect: 'boot',
      severity: 'fail',
      source: 'tpm',
      expected: null,
      actual: 'aa',
      text: 'The kernel is another one.',
      evidence: { digest: 'bb', position: 'event 7' },
    })),
    aspects: { identity: { status: 'affirming', source: 'tpm' } },
    group: 'workers',
    require: ['identity', 'boot'],
    mode: 'observe',
    policy: 'strict@0123456789ab',
  };
}

export function madeStatus(node: EnrolledNode, verdict: Verdict, at: number): NodeStatus {
  return {
    name: node.name,
    ekDigest: node.ekDigest,
    state: verdict.state,
    verdict,
    verifiedAt: at,
    expiresAt: at + 180_000,
    trustedAt: null,
    bootSeenAt: at,
    bootedAfter: at - 60_000,
    bootedAt: at - 30_000,
    resetCount: 4_294_967_295,
    restartCount: 0,
    clock: 2n ** 64n - 1n,
    firmwareVersion: '0000000100020003',
    bootId: '3b1f0f5c-0000-4000-8000-000000000000',
    sequence: null,
    kernel: '6.12.0',
    systemUuid: null,
    parts: { boot: 'cc'.repeat(32) },
    memory: { host: { seen: ['6.12.0'] } },
    evidenceDigest: null,
    recordedAt: at,
    recordedEvidence: 'ee'.repeat(32),
    repeats: 0,
    trustedBy: null,
    since: at,
  };
}

export function madeRecord(
  node: EnrolledNode,
  at: number,
  verdict: Verdict = madeVerdict('trusted'),
  bytes: Buffer = Buffer.from(`bundle of ${node.name} at ${at}`),
): ChangeRecord {
  const digest = hash('sha256', bytes, 'hex');
  return {
    status: { ...madeStatus(node, verdict, at), evidenceDigest: digest },
    at,
    evidence: [{ digest, bytes }],
    history: [{ at, verdict, evidenceDigest: digest, transition: true, repeats: 0, since: at }],
    audit: [{ ...madeEvent('verdict', node.name), at, code: verdict.reasons[0]?.code ?? null }],
  };
}

/** The same verdict again. */
export function madeRepeat(node: EnrolledNode, at: number, repeats = 1): RepeatRecord {
  const own = madeBlob(`repeat of ${node.name} at ${at}`);
  const status = madeStatus(node, madeVerdict('trusted'), at);
  return { ...status, verifiedAt: at, evidenceDigest: own.digest, repeats, evidence: { own, shared: [] } };
}

export function madeBlob(text: string): { readonly digest: string; readonly bytes: Buffer } {
  return { digest: hash('sha256', text, 'hex'), bytes: Buffer.from(text) };
}
