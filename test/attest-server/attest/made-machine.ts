import { hash, randomBytes } from 'node:crypto';
import type { Answer, AttestedNode } from '../../../attest-server/attest/answer.ts';
import type { EnrolledNode } from '../../../attest-server/enrolment/ports.ts';
import { checkAttestationKey } from '../../../attest-server/verify/attestation-key.ts';
import { type ForgedTpm, forgedTpm, type Occasion } from '../forged-tpm.ts';
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
      readonly occasion?: Partial<Occasion>;
      readonly userSpace?: Buffer;
    },
  ): Answer;
}

const selection = { sha256: Array.from({ length: 24 }, (_, pcr) => pcr) };

export function madeMachine(name: string, tpm: ForgedTpm = forgedTpm()): MadeMachine {
  const { ak, banks } = tpm.hello(name);
  const akName = ak?.name ?? '';
  const hello = JSON.stringify(tpm.hello(name));
  const channel = Buffer.alloc(32, 7);
  const record: EnrolledNode = {
    name,
    ekDigest: tpm.ekDigest,
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
    },
    answer(at, { occasion = {}, userSpace, ...quoted } = {}) {
      const nonce = randomBytes(32);
      const made: Occasion = { node: name, hello, channel, ...occasion };
      const all = { resetCount: 7, restartCount: 1, clock: BigInt(at), ...quoted };
      const evidence = tpm.evidence(
        {
          type: 'challenge',
          purpose: 'attest',
          nonce: nonce.toString('base64'),
          selection,
          holds: [],
          within: 30,
        },
        made,
        { quote: (signed) => madeQuote(tpm.ak, signed, all) },
      );
      const { bootLog } = made;
      return {
        evidence:
          userSpace === undefined ? evidence : { ...evidence, userspaceLog: userSpace.toString('base64') },
        nonce,
        channel,
        helloDigest: hash('sha256', hello, 'hex'),
        selection,
        challengedAt: at,
        bootLog: bootLog === undefined ? null : { digest: hash('sha256', bootLog, 'hex'), bytes: bootLog },
      };
    },
  };
}
