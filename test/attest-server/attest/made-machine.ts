import assert from 'node:assert/strict';
import { hash, randomBytes } from 'node:crypto';
import type { Answer, AttestedNode } from '../../../attest-server/attest/answer.ts';
import type { AttestPorts } from '../../../attest-server/attest/ports.ts';
import type { Judgement } from '../../../attest-server/channel/ports.ts';
import type { EnrolledNode } from '../../../attest-server/enrolment/ports.ts';
import { HeldByNode } from '../../../attest-server/evidence/held-by-node.ts';
import { NodeBudgets } from '../../../attest-server/evidence/node-budgets.ts';
import { keptContext, Packer } from '../../../attest-server/evidence/pack.ts';
import { InForce } from '../../../attest-server/in-force/in-force.ts';
import type { Policy } from '../../../attest-server/policy/policy.ts';
import type { Store } from '../../../attest-server/store/open.ts';
import { checkAttestationKey } from '../../../attest-server/verify/attestation-key.ts';
import type { Parts } from '../../../attest-server/wire/evidence.ts';
import { limits, timings } from '../../../attest-server/wire/limits.ts';
import type { Challenge } from '../../../attest-server/wire/messages.ts';
import { purposeOf, type Role } from '../../../attest-server/wire/roles.ts';
import { bootPolicy } from '../boot-policy.ts';
import { type ForgedTpm, forgedTpm, type Occasion } from '../forged-tpm.ts';
import { partOf } from '../verify/made-by-hand.ts';
import { madeQuote } from '../verify/made-quote.ts';

/** A machine whose answers reach the pipeline without a connection. */
export interface MadeMachine {
  readonly tpm: ForgedTpm;
  readonly record: EnrolledNode;
  readonly node: AttestedNode;
  /** An answer to a challenge of this moment, milliseconds since the epoch. */
  answer(
    at: number,
    change?: NonNullable<Parameters<typeof madeQuote>[2]> & {
      readonly by?: Role;
      readonly occasion?: Partial<Occasion>;
      readonly userSpace?: Buffer;
      readonly disk?: Buffer;
      readonly firewall?: Buffer;
    },
  ): Answer;
}

const selection = { sha256: Array.from({ length: 24 }, (_, pcr) => pcr) };

/** Ports over a store, with `bootPolicy` unless another one is given. */
export function madePorts(
  { verdicts, enrolment, evidence: kept, initrds }: Store,
  change: Partial<AttestPorts> & { readonly policy?: Policy; readonly share?: number } = {},
): AttestPorts {
  const { policy = bootPolicy, share = 256 * 1024 * 1024, ...ports } = change;
  const inForce = new InForce(policy, [], keptContext);
  return {
    verdicts,
    enrolment,
    evidence: {
      packer: new Packer(),
      budgetsOf: (node) => new NodeBudgets(node, 60_000),
      hold: () => {},
      share: new HeldByNode({
        store: kept,
        share,
        now: () => 0,
        monotonic: () => performance.now(),
      }),
      readPart: (digest, node) => kept.readShared(digest, node),
      readPiece: (digest, node) => kept.readShared(digest, node),
    },
    now: () => 0,
    monotonic: () => performance.now(),
    unknownAfter: 180_000,
    summaryEvery: 3_600_000,
    imaList: limits.ima.list,
    initrds,
    initrdUploads: 2,
    initrdManifests: 512 * 1024 * 1024,
    answerWithin: timings.answerWithin,
    challengeEvery: timings.challengeEvery,
    askAgain: () => {},
    decideKey: () => assert.fail('no key is asked for'),
    hasLease: () => false,
    silenceOf: () => null,
    inForce: () => inForce,
    earlier: { known: () => null, read: async () => null, pathsOf: () => [] },
    version: '1.2.3',
    labelsOf: () => ({}),
    systemUuidOf: () => null,
    duration: () => {},
    answered: () => {},
    recorded: () => {},
    gateOpened: () => {},
    storageFault: () => null,
    presence: { isAway: () => false, recalled: () => {} },
    fault(error) {
      throw error;
    },
    ...ports,
  };
}

export function madeMachine(name: string, tpm: ForgedTpm = forgedTpm()): MadeMachine {
  const { ak, banks } = tpm.hello(name);
  const akName = ak?.name ?? '';
  const hello = JSON.stringify(tpm.hello(name));
  const channel = Buffer.alloc(32, 7);
  const record: EnrolledNode = {
    name,
    ekDigest: tpm.ekDigest,
    keyDigest: tpm.keyDigest,
    bound: 'pin',
    ekPublicArea: tpm.ek.publicArea,
    ekCertificate: null,
    akPublicArea: tpm.ak.publicArea,
    akName,
    banks,
    manufacturer: null,
    tpmClass: 'unknown',
    endorsedBy: null,
    enrolledAt: 0,
    enrolledBy: null,
  };
  return {
    tpm,
    record,
    node: {
      name,
      ekDigest: record.ekDigest,
      tpmClass: record.tpmClass,
      ekPublicArea: record.ekPublicArea,
      ekCertificate: null,
      ak: checkAttestationKey(tpm.ak.publicArea, akName),
      banks,
    },
    answer(at, { by = 'agent', occasion = {}, userSpace, disk, firewall, ...quoted } = {}) {
      const nonce = randomBytes(32);
      const made: Occasion = { node: name, hello, channel, ...occasion };
      const all = { resetCount: 7, restartCount: 1, clock: BigInt(at), ...quoted };
      const { bootLog } = made;
      const sent = { ...(userSpace && { userSpace }), ...(disk && { disk }), ...(firewall && { firewall }) };
      const parts: Parts = {
        ...(bootLog && { boot: partOf(bootLog) }),
        ...(userSpace && { userSpace: partOf(userSpace) }),
        ...(disk && { disk: partOf(disk) }),
        ...(firewall && { firewall: partOf(firewall) }),
      };
      const challenge: Challenge = {
        type: 'challenge',
        purpose: purposeOf(by),
        nonce: nonce.toString('base64'),
        selection,
        holds: [],
        parts: [],
        within: 30,
      };
      return {
        by,
        evidence: tpm.evidenceOfParts(challenge, made, sent, (signed) => madeQuote(tpm.ak, signed, all)),
        nonce,
        channel,
        helloDigest: hash('sha256', hello, 'hex'),
        selection,
        challengedAt: at,
        keyRequest: made.keyRequest,
        parts,
      };
    },
  };
}

/** For an answer that nothing is asked about before. */
export async function verdictOf(judged: Promise<Judgement>) {
  const verdict = await judged;
  if (!('state' in verdict)) throw new Error('the node was asked for files first');
  return verdict;
}
