import { createECDH, randomBytes } from 'node:crypto';
import { sealTo } from '../verify/duplication.ts';
import type { QuotedBank } from '../verify/quote.ts';
import { releasePolicyDigest } from '../verify/tpm/auth-policy.ts';
import { encryptVolumeKey } from '../wire/key-derivation.ts';
import { keyReleaseFrame } from '../wire/key-release.ts';
import { keyAgreementCurve, parseKeyRequest } from '../wire/key-request.ts';
import type { PcrSelection } from '../wire/messages.ts';
import { pcrsOf } from '../wire/pcr-values.ts';
import { randomSecret, secretBytes } from '../wire/secret-bytes.ts';
import type { KeyQuestion, StoredVolume, WrappingKeys } from './ports.ts';

/** For how long a TPM unseals what it was given, in milliseconds of its clock. */
const unsealedWithin = 120_000n;

/** A key that is ready to leave, and is wiped at the end of its block. */
export interface SealedRelease extends Disposable {
  /** @param leaseId 16 bytes, hex */
  frame(leaseId: string): Buffer;
}

/**
 * Seals the key of a volume to the TPM, the boot and the PCRs that this answer proved. Of a volume that its node has not
 * formatted yet the recovery passphrase goes with it, and no header is expected; of one whose key is being replaced, the next key.
 * @throws Error if the wrapping key does not fit
 */
export function sealRelease(
  { node, nonce, keyRequest, proven }: KeyQuestion,
  volume: StoredVolume,
  wrapping: WrappingKeys,
): SealedRelease {
  const { resetCount, clock } = proven.clock;
  const secret = secretOf(volume, wrapping);
  const sealed = randomSecret(32);
  return {
    frame(leaseId) {
      const clockBefore = clock + unsealedWithin;
      const own = createECDH(keyAgreementCurve);
      const serverEphemeral = own.generateKeys();
      const policy = releasePolicyDigest({ pcrs: proven.banks, resetCount, clockBefore });
      const { publicArea, duplicate, seed } = sealTo(node.ekPublicArea, sealed, policy, randomBytes);
      const peer = parseKeyRequest(keyRequest).ephemeral;
      return keyReleaseFrame({
        leaseId,
        volume: volume.uuid,
        resetCount,
        clockBefore,
        selection: heldSelection(proven.banks),
        serverEphemeral,
        importPublic: publicArea,
        importDuplicate: duplicate,
        importSeed: seed,
        expectedHeaders:
          volume.formattedAt === null
            ? []
            : [volume.headerDigest, volume.rotation?.headerDigest].filter((digest) => digest != null),
        ciphertext: encryptVolumeKey(
          { sealed, own, peer, nonce },
          { ekDigest: node.ekDigest, node: node.name, volume: volume.uuid, leaseId, resetCount, keyRequest },
          secret,
        ),
      });
    },

    [Symbol.dispose]() {
      for (const bytes of [secret, sealed]) bytes.fill(0);
    },
  };
}

/** The key, followed by the next one, or by the recovery passphrase while the volume is to be formatted. */
function secretOf(volume: StoredVolume, wrapping: WrappingKeys): Buffer {
  const { node, ekDigest, uuid } = volume;
  const context = { node, ekDigest, volume: uuid };
  const key = wrapping.unwrap(volume.key, { ...context, purpose: 'volume' });
  const { nextKey, recovery } = volume;
  const [besides, purpose] =
    recovery === null ? ([nextKey, 'volume'] as const) : ([recovery, 'recovery'] as const);
  if (besides === null) return key;
  try {
    const second = wrapping.unwrap(besides, { ...context, purpose });
    const both = secretBytes(key.length + second.length);
    key.copy(both);
    second.copy(both, key.length);
    second.fill(0);
    return both;
  } finally {
    key.fill(0);
  }
}

/** The PCRs that the policy holds: all that were quoted, but for IMA's, which moves all the time. */
function heldSelection(banks: readonly QuotedBank[]): PcrSelection {
  return Object.fromEntries(
    banks
      .map(({ bank, mask }) => [bank, pcrsOf(mask & ~(1 << 10))] as const)
      .filter(([, pcrs]) => pcrs.length > 0),
  );
}
