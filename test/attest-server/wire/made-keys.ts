import type { KeyRelease } from '../../../attest-server/wire/key-release.ts';
import type { KeyRequest } from '../../../attest-server/wire/key-request.ts';

/** The generator of P-256, uncompressed (SEC 2, section 2.4.2): a point like any other. */
const point = Buffer.from(
  '046b17d1f2e12c4247f8bce6e563a440f277037d812deb33a0f4a13945d898c2964fe342e2fe1a7f9b8ee7eb4a7c0f9e162bce33576b315ececbb6406837bf51f5',
  'hex',
);
const volume = '6f9619ff-8b86-4011-b42d-00cf4fc964ff';

export function madeKeyRequest(): KeyRequest {
  return { volume, ephemeral: point };
}

export function madeKeyRelease(): KeyRelease {
  return {
    leaseId: '00112233445566778899aabbccddeeff',
    volume,
    resetCount: 7,
    clockBefore: 123_456_789n,
    selection: { sha1: [0, 15], sha256: [0, 1, 2, 3, 4, 5, 6, 7, 14, 15] },
    serverEphemeral: point,
    importPublic: Buffer.from('0003010203', 'hex'),
    importDuplicate: Buffer.from('00020405', 'hex'),
    importSeed: Buffer.from('000106', 'hex'),
    expectedHeaders: ['ab'.repeat(32), 'cd'.repeat(32)],
    ciphertext: Buffer.alloc(80, 9),
  };
}
