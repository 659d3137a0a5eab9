import { createHash, hash } from 'node:crypto';
import { type AttestationKey, checkAttestationKey } from '../../../attest-server/verify/attestation-key.ts';
import type { QuoteEvidence } from '../../../attest-server/verify/quote.ts';
import { type SoftwareKey, sized, tpmSign, u16, u32 } from './software-key.ts';

/** Every field of a TPMS_ATTEST that an attack may want to choose. */
export interface AttestOptions {
  readonly magic?: number;
  readonly type?: number;
  readonly qualifiedSigner: Buffer;
  readonly extraData: Buffer;
  readonly clock?: bigint;
  readonly resetCount?: number;
  readonly restartCount?: number;
  readonly safe?: boolean;
  readonly firmwareVersion?: bigint;
  /** Hash algorithm and bitmap (hex) of each bank. */
  readonly selection?: readonly (readonly [number, string])[];
  readonly pcrDigest: Buffer;
}

export const allPcrs = 'ffffff';

export function madeAttest(options: AttestOptions): Buffer {
  const selection = options.selection ?? [[0x000b, allPcrs]];
  return Buffer.concat([
    u32(options.magic ?? 0xff544347),
    u16(options.type ?? 0x8018),
    sized(options.qualifiedSigner),
    sized(options.extraData),
    u64(options.clock ?? 0x1234n),
    u32(options.resetCount ?? 7),
    u32(options.restartCount ?? 0),
    Buffer.of(options.safe === false ? 0 : 1),
    u64(options.firmwareVersion ?? 0x2019102300163636n),
    u32(selection.length),
    ...selection.map(([bank, bitmap]) => {
      const bytes = Buffer.from(bitmap, 'hex');
      return Buffer.concat([u16(bank), Buffer.of(bytes.length), bytes]);
    }),
    sized(options.pcrDigest),
  ]);
}

function u64(value: bigint): Buffer {
  const bytes = Buffer.alloc(8);
  bytes.writeBigUInt64BE(value);
  return bytes;
}

/** 24 values of a bank, each one told from all others. */
export function madeValues(size: number, seed = 'pcr'): Buffer {
  const digests =
    digestsBySeed.get(seed) ?? Array.from({ length: 24 }, (_, pcr) => digestOf(`${seed}${pcr}`));
  digestsBySeed.set(seed, digests);
  return Buffer.concat(digests.map((digest) => digest.subarray(0, size)));
}

const digestsBySeed = new Map<string, readonly Buffer[]>();
const digestOf = (text: string) => hash('sha512', text, 'buffer');

/** A quote over all PCRs of the SHA-256 bank that holds in every respect, with what an attack changes. */
export function madeQuote(
  key: SoftwareKey,
  extraData: Buffer,
  change: Partial<AttestOptions> & { readonly pcrs?: QuoteEvidence['pcrs'] } = {},
): QuoteEvidence {
  const pcrs = change.pcrs ?? { sha256: madeValues(32) };
  const covered = Buffer.concat(Object.values(pcrs));
  const attest = madeAttest({
    qualifiedSigner: Buffer.from(akOf(key).qualifiedName, 'hex'),
    extraData,
    pcrDigest: createHash('sha256').update(covered).digest(),
    ...change,
  });
  return { attest, signature: tpmSign(key, attest), pcrs };
}

const checked = new Map<SoftwareKey, AttestationKey>();

export function akOf(key: SoftwareKey): AttestationKey {
  const known = checked.get(key) ?? checkAttestationKey(key.publicArea);
  checked.set(key, known);
  return known;
}
