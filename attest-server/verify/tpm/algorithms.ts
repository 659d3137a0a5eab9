import { getHashes } from 'node:crypto';
import { bankBytes, type PcrBank, pcrBanks } from '../../wire/messages.ts';

/** Hash algorithms have one name everywhere: in node:crypto, as PCR bank, in evidence. */
export type HashName = PcrBank;

/** Algorithm identifiers. TCG Algorithm Registry 1.32, section 6. */
export const alg = {
  rsa: 0x0001,
  aes: 0x0006,
  null: 0x0010,
  rsassa: 0x0014,
  rsaes: 0x0015,
  rsapss: 0x0016,
  oaep: 0x0017,
  ecdsa: 0x0018,
  ecdaa: 0x001a,
  ecc: 0x0023,
  cfb: 0x0043,
} as const;

export function hashByAlg(id: number): HashName | undefined {
  switch (id) {
    case 0x0004:
      return 'sha1';
    case 0x000b:
      return 'sha256';
    case 0x000c:
      return 'sha384';
    case 0x000d:
      return 'sha512';
    default:
      return undefined;
  }
}

/** Banks that a log may have: SM3's replays as well, though no quote over it is taken. */
export type LogBank = PcrBank | 'sm3_256';

/** Where OpenSSL was built without SM3, its bank is one of those that are skipped. */
export const logBanks: readonly LogBank[] = getHashes().includes('sm3') ? [...pcrBanks, 'sm3_256'] : pcrBanks;

/** Bytes of a digest. */
export const logBankBytes: Readonly<Record<LogBank, number>> = { ...bankBytes, sm3_256: 32 };

export function logBankByAlg(id: number): LogBank | undefined {
  return id === 0x0012 && logBanks.includes('sm3_256') ? 'sm3_256' : hashByAlg(id);
}

/** As node:crypto calls the hash of a bank. */
export function cryptoName(bank: LogBank): string {
  return bank === 'sm3_256' ? 'sm3' : bank;
}

/** Bytes of a digest by its algorithm, SHA-3's too, which no bank here is of. TCG Algorithm Registry 1.32, section 6. */
export function digestBytesByAlg(id: number): number | undefined {
  const bank = logBankByAlg(id);
  return bank === undefined ? otherDigestBytes.get(id) : logBankBytes[bank];
}

const otherDigestBytes: ReadonlyMap<number, number> = new Map([
  [0x0012, 32],
  [0x0027, 32],
  [0x0028, 48],
  [0x0029, 64],
]);

export interface Curve {
  /** The name that a JSON Web Key and node:crypto take. */
  readonly name: 'P-256' | 'P-384' | 'P-521';
  /** The size of a coordinate, and of r and s, in bytes. */
  readonly bytes: number;
  /** The order n of the base point, big-endian. */
  readonly order: Buffer;
}

/** The curves that are strong enough to trust. TCG Algorithm Registry 1.32, section 7.1; orders from SP 800-186. */
const curves = new Map<number, Curve>([
  [
    0x0003,
    {
      name: 'P-256',
      bytes: 32,
      order: order('f'.repeat(8), '0'.repeat(8), 'f'.repeat(16), 'bce6faada7179e84f3b9cac2fc632551'),
    },
  ],
  [
    0x0004,
    {
      name: 'P-384',
      bytes: 48,
      order: order('f'.repeat(48), 'c7634d81f4372ddf581a0db248b0a77aecec196accc52973'),
    },
  ],
  [
    0x0005,
    {
      name: 'P-521',
      bytes: 66,
      order: order(
        '01',
        'f'.repeat(64),
        'fa51868783bf2f966b7fcc0148f709a5d03bb5c9b8899c47aebb6fb71e91386409',
      ),
    },
  ],
]);

export function curveById(id: number): Curve | undefined {
  return curves.get(id);
}

/** `0x%04X`, as the documents write identifiers. */
export function idText(id: number): string {
  return `0x${id.toString(16).padStart(4, '0').toUpperCase()}`;
}

function order(...hex: string[]): Buffer {
  return Buffer.from(hex.join(''), 'hex');
}
